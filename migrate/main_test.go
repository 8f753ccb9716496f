package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/master/etcdconfig"
	"github.com/ctlplane/ctlplane/test/realetcd"
)

// patience bounds each single wait.
const patience = 60 * time.Second

func TestMain(m *testing.M) { os.Exit(realetcd.TestMain(m)) }

func freeAddress(t *testing.T) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// startEtcd starts a real etcd, which ends with the test, and returns its client URL.
func startEtcd(t *testing.T, scheme string, flags ...string) string {
	t.Helper()
	url, _ := startEtcdProcess(t, scheme, flags...)
	return url
}

func startEtcdProcess(t *testing.T, scheme string, flags ...string) (url string, process *os.Process) {
	t.Helper()
	client := freeAddress(t)
	process = realetcd.Start(t, append(realetcd.URLs("old", scheme, client, freeAddress(t)), flags...)...)
	return scheme + "://" + client, process
}

// connect is a client of one endpoint.
func connect(t *testing.T, url string, change ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	config := source(url)
	for _, c := range change {
		c(&config)
	}
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func source(url string) clientv3.Config {
	return clientv3.Config{Endpoints: []string{url}, DialTimeout: patience, Logger: zap.NewNop()}
}

// logs are what a member logs.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// member is a migration in this process, or a plain member.
type member struct {
	t      *testing.T
	dir    string
	url    string
	config master.Config
	logs   *logs
	ready  chan struct{} // closed when the member serves
	ended  chan error
	stop   context.CancelFunc
}

// newMember makes a configuration of the flags of `ctlplane etcd`.
func newMember(t *testing.T, scheme string, flags ...string) *member {
	t.Helper()
	client := freeAddress(t)
	m := &member{t: t, dir: filepath.Join(t.TempDir(), "new"), url: scheme + "://" + client, logs: &logs{}}
	args := append(realetcd.URLs("new", scheme, client, freeAddress(t)), "--data-dir", m.dir)
	m.configure(append(args, flags...))
	return m
}

func (m *member) configure(args []string) {
	m.t.Helper()
	settings, err := etcdconfig.Parse(args, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.config, err = settings.Master(m.t.Context(), slog.New(slog.NewTextHandler(m.logs, nil))); err != nil {
		m.t.Fatal(err)
	}
	m.dir = m.config.DataDir
}

// start runs it until stop, or the test's end.
func (m *member) start(run func(context.Context, master.Config) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	m.ready, m.ended = ready, ended
	m.config.Ready = func(master.Ready) { close(ready) }
	go func() {
		defer close(ended)
		ended <- run(ctx, m.config)
	}()
	m.stop = cancel
	m.t.Cleanup(func() {
		cancel()
		for range ended { // until it is closed
		}
		if m.t.Failed() {
			m.t.Logf("%s\n%s", m.dir, m.logs)
		}
	})
}

// migrate starts a migration from an etcd.
func (m *member) migrate(from clientv3.Config) {
	m.start(func(ctx context.Context, config master.Config) error {
		return Run(ctx, Config{From: from, Master: config})
	})
}

// waitReady waits until the member serves.
func (m *member) waitReady() {
	m.t.Helper()
	select {
	case <-m.ready:
	case err := <-m.ended:
		m.t.Fatalf("it ended before it was ready: %v", err)
	case <-time.After(patience):
		m.t.Fatal("it was not ready in time")
	}
}

// waitLevel waits until the step can be taken.
func (m *member) waitLevel() {
	m.t.Helper()
	eventually(m.t, "the copy is level", func() bool {
		select {
		case err := <-m.ended:
			m.t.Fatalf("the migration ended: %v", err)
		default:
		}
		s, err := AskStatus(m.t.Context(), m.dir)
		return err == nil && s.Ready
	})
}

// cutOver takes the step.
func (m *member) cutOver() Moved {
	m.t.Helper()
	moved, err := AskCutOver(m.t.Context(), m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	m.waitReady()
	return moved
}

// end stops it, and returns how it ended.
func (m *member) end() error {
	m.stop()
	err := <-m.ended
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// waitLogged waits for a line with all of the words.
func (m *member) waitLogged(words ...string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%q is logged", words), func() bool {
		for line := range strings.Lines(m.logs.String()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %v for: %s", patience, what)
		case <-tick.C:
		}
	}
}
