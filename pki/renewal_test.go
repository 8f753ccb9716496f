package pki

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestLifeOfACertificateIsReadBack(t *testing.T) {
	authority, err := NewCA("test", testTime)
	if err != nil {
		t.Fatal(err)
	}
	for _, life := range []time.Duration{MinLeafLife, 15 * time.Second, 2 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 24 * time.Hour, DefaultLeafLife} {
		ca := authority.WithLeafLife(life)
		for range 10 {
			certPEM, _, err := ca.IssuePair(AdminLeaf(), testTime)
			if err != nil {
				t.Fatal(err)
			}
			cert := parseLeaf(t, certPEM)
			if got := lifeOf(cert); (got-life).Abs() > 2*time.Second || !cert.NotAfter.Equal(testTime.Add(life)) {
				t.Errorf("a life of %v is read as %v and ends after %v", life, got, cert.NotAfter.Sub(testTime))
			}
			if cert.NotBefore.After(testTime.Add(-min(time.Hour, life/2))) {
				t.Errorf("a life of %v is backdated by %v only", life, testTime.Sub(cert.NotBefore))
			}
			if due := dueAt(cert).Sub(testTime); due > life*2/3+time.Second || due < life*7/12-time.Second {
				t.Errorf("a life of %v is renewed after %v", life, due)
			}
		}
	}
	for life, ok := range map[time.Duration]bool{0: false, MinLeafLife - 1: false, MinLeafLife: true, DefaultLeafLife: true, caLife: false} {
		if err := CheckLeafLife(life); (err == nil) != ok {
			t.Errorf("%v: %v", life, err)
		}
	}
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// runRenewer runs a renewer until the test ends.
func runRenewer(t *testing.T, r *Renewer) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// sample is a metric's value for a kind of certificate.
func sample(t *testing.T, c prometheus.Collector, name, kind string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == kind {
				return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, kind)
	return 0
}

// TestCertificatesEndAfterAYearAndNobodyRenewsThem lets a process live for ten years.
func TestCertificatesEndAfterAYearAndNobodyRenewsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := NewCA("test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		dir, leaf := t.TempDir(), ServerLeaf("m1", "127.0.0.1")
		source, err := ca.EnsureLeaf(dir, "server", leaf, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		renewer := NewRenewer(ca, slog.New(slog.DiscardHandler))
		renewer.Keep(ca.Renewal("server", dir, "server", leaf, source))
		runRenewer(t, renewer)
		for range 10 * 12 {
			time.Sleep(365 * 24 * time.Hour / 12)
			synctest.Wait()
			if left := time.Until(source.NotAfter()); left < DefaultLeafLife/3-time.Hour {
				t.Fatalf("%v of the certificate's life are left", left)
			}
		}
		stored, err := openPair(dir, "server")
		if err != nil || !stored.NotAfter().Equal(source.NotAfter()) {
			t.Errorf("on disk is another certificate than in use: %v", err)
		}
		if renewed := sample(t, renewer, "ctlplane_certificate_renewals_total", "server"); renewed < 14 || renewed > 18 {
			t.Errorf("the certificate was renewed %v times in ten years", renewed)
		}
		if end := sample(t, renewer, "ctlplane_certificate_expiration_timestamp_seconds", "server"); int64(end) != source.NotAfter().Unix() {
			t.Errorf("the metric says that the certificate ends at %v", end)
		}
		if end := sample(t, renewer, "ctlplane_certificate_expiration_timestamp_seconds", "ca"); int64(end) != ca.NotAfter().Unix() {
			t.Errorf("the metric says that the CA ends at %v", end)
		}
	})
}

// TestFailedRenewalIsRepeated has renewals fail until the certificate has ended, and succeed then.
func TestFailedRenewalIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := NewCA("test", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ca = ca.WithLeafLife(30 * 24 * time.Hour)
		dir, leaf := t.TempDir(), AdminLeaf()
		source, err := ca.EnsureLeaf(dir, "admin", leaf, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		renewer := NewRenewer(ca, slog.New(slog.NewTextHandler(&log, nil)))
		renewal := ca.Renewal("admin", dir, "admin", leaf, source)
		var mended atomic.Bool
		renew := renewal.Renew
		renewal.Renew = func(ctx context.Context) error {
			if !mended.Load() {
				return errors.New("the disk is full")
			}
			return renew(ctx)
		}
		renewer.Keep(renewal)
		runRenewer(t, renewer)
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		failed := sample(t, renewer, "ctlplane_certificate_renewal_failures_total", "admin")
		if failed < 1000 {
			t.Errorf("%v attempts in eleven days", failed)
		}
		for words, most := range map[string]int{"level=WARN": 12, "ends soon": 3, "has ended": 3} {
			if n := strings.Count(log.String(), words); n == 0 || n > most {
				t.Errorf("%q was logged %d times, want once to %d times:\n%s", words, n, most, log.String())
			}
		}
		mended.Store(true)
		time.Sleep(2 * maxRenewPause)
		synctest.Wait()
		if time.Until(source.NotAfter()) < 29*24*time.Hour || !strings.Contains(log.String(), "renewed a certificate") {
			t.Error("the certificate was not renewed when it could be")
		}
	})
}

// TestRenewalCannotOutliveTheCA comes to the end of the authority itself: it is told, and nothing spins.
func TestRenewalCannotOutliveTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := NewCA("test", time.Now().Add(time.Hour-caLife))
		if err != nil {
			t.Fatal(err)
		}
		dir, leaf := t.TempDir(), AdminLeaf()
		source, err := ca.EnsureLeaf(dir, "admin", leaf, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		renewer := NewRenewer(ca, slog.New(slog.NewTextHandler(&log, nil)))
		renewer.Keep(ca.Renewal("admin", dir, "admin", leaf, source))
		runRenewer(t, renewer)
		time.Sleep(time.Hour)
		synctest.Wait()
		if failed := sample(t, renewer, "ctlplane_certificate_renewal_failures_total", "admin"); failed == 0 || failed > 400 {
			t.Errorf("%v attempts in the CA's last hour", failed)
		}
		if !strings.Contains(log.String(), "the cluster's CA ends then") {
			t.Errorf("the log does not say what ends:\n%s", log.String())
		}
	})
}

// TestCrashBetweenCertificateAndKey leaves on disk what a crash left there when both were files of their own.
func TestCrashBetweenCertificateAndKey(t *testing.T) {
	ca, err := NewCA("test", testTime)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := separateFiles(dir, "peer")
	oldCert, oldKey, err := ca.IssuePair(PeerLeaf("m1"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	_, newKey, err := ca.IssuePair(PeerLeaf("m1"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	store := func(cert, key []byte) {
		for path, content := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	store(oldCert, oldKey)
	kept, err := ca.EnsureLeaf(dir, "peer", PeerLeaf("m1"), testTime)
	if err != nil || !kept.Certificate().Leaf.Equal(parseLeaf(t, oldCert)) {
		t.Fatalf("a pair in two files is not taken over: %v", err)
	}
	store(oldCert, newKey)
	if _, err := ca.EnsureLeaf(dir, "peer", PeerLeaf("m1"), testTime); err != nil {
		t.Fatalf("a master can't start after a crash between the two files: %v", err)
	}
	// Written in the place of both is one file, so that there is no between.
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(entries) != 1 || entries[0] != PairFile(dir, "peer") {
		t.Errorf("the directory holds %v, want the pair's file alone (%v)", entries, err)
	}
	if info, err := os.Stat(PairFile(dir, "peer")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestShorterLifeIsTakenOver(t *testing.T) {
	ca, err := NewCA("test", testTime)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := ca.EnsureLeaf(dir, "peer", PeerLeaf("m1"), testTime); err != nil {
		t.Fatal(err)
	}
	source, err := ca.WithLeafLife(time.Hour).EnsureLeaf(dir, "peer", PeerLeaf("m1"), testTime)
	if err != nil || !source.cert.Leaf.NotAfter.Equal(testTime.Add(time.Hour)) {
		t.Errorf("ends at %v, %v; want an hour after %v", source.cert.Leaf.NotAfter, err, testTime)
	}
}
