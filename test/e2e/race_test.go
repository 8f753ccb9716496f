package e2e

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/dev"
	"github.com/ctlplane/ctlplane/test/fleet"
)

// churnTimes is how often TestRaces writes each kind of object, and in each way.
const churnTimes = 20

// TestRaces runs a whole cluster on a binary with the race detector: masters and a node, writes of all kinds in all ways, readers in all
// formats, pods to place, and a leader that is killed. No process reports a race.
func TestRaces(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newScale(t, ctx, buildRace(t), 1)
	s.register(30)
	s.must(s.fleet.Namespaces(ctx, scaleNamespaces))
	s.churn(churnTimes)
	killed := s.place(100)
	s.judge(killed)
}

// churn writes everything a number of times while others read.
func (s *scale) churn(times int) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var readers sync.WaitGroup
	var read atomic.Int64
	for _, m := range s.cluster.Masters {
		via := newHTTPClient(s.t, m)
		readers.Go(func() { read.Add(fleet.Read(ctx, m.Access.Server, via)) })
	}
	done, err := s.fleet.Churn(ctx, scaleNamespaces, times)
	cancel()
	readers.Wait()
	s.must(err)
	s.t.Logf("%d bytes read; written: %v", read.Load(), done)
	if read.Load() == 0 {
		s.t.Error("nobody has read anything")
	}
}

func newHTTPClient(t *testing.T, m *dev.Master) *http.Client {
	t.Helper()
	config, err := m.Access.Config()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config.TLS, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// buildRace builds the program with the race detector. What it is made of is what the tests themselves are made of, so that
// mostly it has only to be linked.
func buildRace(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/ctlplane-race")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("make", "-C", "../..", "build-race").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
