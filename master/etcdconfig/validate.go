package etcdconfig

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ctlplane/ctlplane/raftstore"
)

// maxElectionMillis is etcd's bound.
const maxElectionMillis = 50_000

// validate checks what can be checked without the files that are named.
func (s *Settings) validate() error {
	_, err := s.autoCompaction()
	return cmp.Or(
		s.validateTimes(), s.validateURLs(), s.Log.validate(), err, s.validateTLS(), s.validateLimits(), s.Discovery.validate(s),
	)
}

func (s *Settings) validateTimes() error {
	switch beat, election := s.HeartbeatMillis, s.ElectionMillis; {
	case beat == 0:
		return errors.New("--heartbeat-interval must be more than 0")
	case election == 0:
		return errors.New("--election-timeout must be more than 0")
	case 5*beat > election:
		return fmt.Errorf("--election-timeout is %d ms: it must be at least 5 times --heartbeat-interval, which is %d ms", election, beat)
	case election > maxElectionMillis:
		return fmt.Errorf("--election-timeout is %d ms, more than %d: whatever fails would go unnoticed", election, maxElectionMillis)
	}
	return nil
}

func (s *Settings) validateURLs() error {
	switch {
	case len(s.ListenPeer) == 0:
		return errors.New("--listen-peer-urls names no URL")
	case len(s.ListenClient) == 0:
		return errors.New("--listen-client-urls names no URL")
	case !s.byFile && s.given["listen-client-urls"] && !s.given["advertise-client-urls"] && slices.ContainsFunc(s.ListenClient, everywhere):
		// As etcd, which by file takes it, and so do we.
		return errors.New("--advertise-client-urls is needed: clients can't be told to call --listen-client-urls " + s.ListenClient.String())
	}
	for _, u := range s.ListenClientHTTP {
		if slices.ContainsFunc(s.ListenClient, func(other url.URL) bool { return sameListener(u, other) }) {
			return fmt.Errorf("%s is both in --listen-client-urls and in --listen-client-http-urls: give one of them another port", u.String())
		}
	}
	return nil
}

func (s *Settings) validateLimits() error {
	switch {
	case s.BcryptCost < 4 || s.BcryptCost > 31:
		return fmt.Errorf("--bcrypt-cost is %d: choose 4 to 31", s.BcryptCost)
	case s.SelfSignedYears == 0:
		return errors.New("--self-signed-cert-validity must be 1 year at least")
	case s.MaxLearners < 0:
		return fmt.Errorf("--max-learners is %d: choose 0 or more", s.MaxLearners)
	case s.MaxRequestBytes == 0 || s.MaxRequestBytes > 1<<30:
		return fmt.Errorf("--max-request-bytes is %d: choose 1 to %d", s.MaxRequestBytes, 1<<30)
	case s.MaxTxnOps == 0 || s.MaxTxnOps > 1<<30:
		return fmt.Errorf("--max-txn-ops is %d: choose 1 to %d", s.MaxTxnOps, 1<<30)
	case s.CorruptCheckInterval < 0:
		return fmt.Errorf("--corrupt-check-time is %v: choose 0, for never, or more", s.CorruptCheckInterval)
	case s.CompactCheckInterval <= 0:
		return fmt.Errorf("--compact-hash-check-time is %v: choose more than 0", s.CompactCheckInterval)
	}
	return nil
}

// autoCompaction reads the retention by its mode: hours where a time has no unit.
func (s *Settings) autoCompaction() (raftstore.AutoCompaction, error) {
	a := raftstore.AutoCompaction{Mode: s.AutoCompactionMode}
	n, err := strconv.ParseInt(s.AutoCompactionRetention, 10, 64)
	switch {
	case s.AutoCompactionRetention == "":
	case err == nil && n >= 0 && a.Mode == raftstore.CompactRevision:
		a.Retention = time.Duration(n)
	case err == nil && n >= 0 && n < 1<<20 && a.Mode == raftstore.CompactPeriodic:
		a.Retention = time.Duration(n) * time.Hour
	case a.Mode == raftstore.CompactRevision:
		return a, fmt.Errorf("--auto-compaction-retention %q is no number of revisions; a time goes with --auto-compaction-mode periodic", s.AutoCompactionRetention)
	default:
		if a.Retention, err = time.ParseDuration(s.AutoCompactionRetention); err != nil || a.Retention < 0 {
			return a, fmt.Errorf("--auto-compaction-retention %q is no time: write a number of hours, or such as 30m", s.AutoCompactionRetention)
		}
	}
	return a, nil
}

func (s *Settings) validateTLS() error {
	lowest, err := tlsVersion("tls-min-version", s.TLSMin)
	if err != nil {
		return err
	}
	highest, err := tlsVersion("tls-max-version", s.TLSMax)
	if err != nil {
		return err
	}
	if highest != 0 && lowest > highest {
		return fmt.Errorf("--tls-min-version %s is above --tls-max-version %s", s.TLSMin, s.TLSMax)
	}
	if lowest == tls.VersionTLS13 && len(s.CipherSuites) > 0 {
		return errors.New("--cipher-suites are of TLS 1.2: they can't be chosen with --tls-min-version TLS1.3")
	}
	_, err = cipherSuites(s.CipherSuites)
	return err
}

func tlsVersion(flag, name string) (uint16, error) {
	switch name {
	case "":
		return 0, nil
	case "TLS1.2":
		return tls.VersionTLS12, nil
	case "TLS1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("--%s %q: choose TLS1.2 or TLS1.3", flag, name)
}

func cipherSuites(names []string) ([]uint16, error) {
	known := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	var ids []uint16
	for _, name := range names {
		i := slices.IndexFunc(known, func(c *tls.CipherSuite) bool { return c.Name == name || c.Name == name+"_SHA256" })
		if i < 0 {
			var all []string
			for _, c := range known {
				all = append(all, c.Name)
			}
			hint := ""
			if meant := nearest(name, all); meant != "" {
				hint = ": did you mean " + meant + "?"
			}
			return nil, fmt.Errorf("--cipher-suites: there is no %q%s", name, hint)
		}
		ids = append(ids, known[i].ID)
	}
	return ids, nil
}
