package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/pki"
)

const testSecret = "a secret that the masters share"

// masters are started the way that init --peers starts them.
type masters struct {
	t       *testing.T
	peers   []Peer
	configs []BootstrapConfig
	running []*Cluster
}

func newMasters(t *testing.T, n int) *masters {
	t.Helper()
	ms := &masters{t: t, running: make([]*Cluster, n)}
	for i := range n {
		ms.peers = append(ms.peers, Peer{Name: fmt.Sprintf("m%d", i+1), Address: freeAddress(t)})
	}
	for i := range n {
		ms.configs = append(ms.configs, BootstrapConfig{
			DataDir: filepath.Join(t.TempDir(), "data"), Name: ms.peers[i].Name, Peers: ms.peers, Token: testSecret,
			ClientListen: "127.0.0.1:2379", APIListen: ":6443", Logger: testLogger(t, ms.peers[i].Name),
		})
	}
	t.Cleanup(func() {
		for i := range ms.running {
			ms.stop(i)
		}
	})
	return ms
}

func freeAddress(t testing.TB) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// start starts some of the masters at the same time.
func (ms *masters) start(which ...int) {
	ms.t.Helper()
	errs := make([]error, len(ms.configs))
	var wg sync.WaitGroup
	for _, i := range which {
		wg.Go(func() { ms.running[i], errs[i] = Bootstrap(testContext(ms.t), ms.configs[i]) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		ms.t.Fatal(err)
	}
}

func (ms *masters) stop(i int) {
	if ms.running[i] == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if err := ms.running[i].Member.Close(ctx); err != nil {
		ms.t.Errorf("close %s: %v", ms.configs[i].Name, err)
	}
	ms.running[i] = nil
}

// waitForVoters waits until the group has n voters and nobody else, as each running master sees it.
func (ms *masters) waitForVoters(n int) {
	ms.t.Helper()
	for _, c := range ms.running {
		if c == nil {
			continue
		}
		eventually(ms.t, fmt.Sprintf("%d voters", n), func() bool {
			members, err := c.Member.Members(testContext(ms.t))
			if err != nil || len(members) != n {
				return false
			}
			for _, m := range members {
				if m.IsLearner {
					return false
				}
			}
			return true
		})
	}
}

func (ms *masters) member(i int) *testMember {
	return &testMember{Member: ms.running[i].Member, cluster: &testCluster{t: ms.t}}
}

func TestBootstrapThreeMastersAtOnce(t *testing.T) {
	ms := newMasters(t, 3)
	ms.start(0, 1, 2)
	ms.waitForVoters(3)
	if !ms.running[0].Created || !ms.running[1].Joined || !ms.running[2].Joined {
		t.Error("the first creates the cluster, the others join it")
	}
	ms.member(2).put("key", "value")
	ms.member(1).wantValue("key", "value")
	for _, record := range ms.running[1].Member.MemberRecords() {
		if !strings.HasPrefix(record.APIURLs[0], "https://127.0.0.1:") || !strings.HasPrefix(record.ClientURLs[0], "https://127.0.0.1:") {
			t.Errorf("record %+v", record)
		}
	}

	for i := range ms.running {
		ms.stop(i)
	}
	ms.start(0, 1, 2) // the same command again is a restart
	for i, c := range ms.running {
		if c.Created || c.Joined {
			t.Errorf("master %d began anew", i)
		}
	}
	ms.member(0).wantValue("key", "value")
}

// TestMembersOfAnyName starts a cluster of members whose names are no host names: what etcd takes for a name is one here.
func TestMembersOfAnyName(t *testing.T) {
	ms := newMasters(t, 4)
	for i, name := range []string{"infra_1", "Node-A", "my.Host.", "Größe 3 (alt)"} {
		ms.peers[i].Name, ms.configs[i].Name = name, name
	}
	ms.start(0, 1, 2, 3)
	ms.waitForVoters(4)
	ms.member(3).put("key", "value")
	ms.member(1).wantValue("key", "value")
	for i := range ms.running {
		ms.stop(i)
	}
	ms.start(0, 1, 2, 3)
	ms.waitForVoters(4)
	for i, c := range ms.running {
		if name := c.Member.Identity().Name; name != ms.peers[i].Name {
			t.Errorf("member %d is %q, not %q", i, name, ms.peers[i].Name)
		}
	}
}

// TestNobodyIsToldToCallAllAddresses starts a member that advertises 0.0.0.0, as many a compose file says.
func TestNobodyIsToldToCallAllAddresses(t *testing.T) {
	outward, err := outwardHost()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(freeAddress(t))
	config := BootstrapConfig{
		DataDir: filepath.Join(t.TempDir(), "data"), Name: "alone", PeerListen: "0.0.0.0:" + port, ClientListen: "[::]:2379",
		PeerURLs:   []string{"http://0.0.0.0:" + port},
		ClientURLs: []string{"http://0.0.0.0:2379", "http://[::]:2379", "http://alone.example:2379", "unix:///run/etcd.sock"},
	}
	for _, again := range []bool{false, true} {
		told := &counting{Handler: slog.DiscardHandler, words: "stands in for it"}
		config.Logger = slog.New(told)
		cluster, err := Bootstrap(testContext(t), config)
		if err != nil {
			t.Fatal(err)
		}
		id := cluster.Member.Identity()
		if want := []string{"http://" + net.JoinHostPort(outward, port)}; !slices.Equal(id.PeerURLs, want) {
			t.Errorf("again %v: peer URLs are %q, want %q", again, id.PeerURLs, want)
		}
		if want := []string{"http://" + net.JoinHostPort(outward, "2379"), "http://alone.example:2379", "unix:///run/etcd.sock"}; !slices.Equal(id.ClientURLs, want) {
			t.Errorf("again %v: client URLs are %q, want %q", again, id.ClientURLs, want)
		}
		if err := cluster.Member.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if got := told.count.Load(); got != 3 {
			t.Errorf("again %v: %d warnings, want 3", again, got)
		}
	}
}

// counting counts the lines of a log that have some words.
type counting struct {
	slog.Handler
	words string
	count atomic.Int32
}

func (c *counting) Enabled(context.Context, slog.Level) bool { return true }

func (c *counting) Handle(_ context.Context, line slog.Record) error {
	if strings.Contains(line.Message, c.words) {
		c.count.Add(1)
	}
	return nil
}

func TestBootstrapAfterLossOfADisk(t *testing.T) {
	ms := newMasters(t, 3)
	ms.start(0, 1, 2)
	ms.waitForVoters(3)
	ms.member(0).put("key", "value")
	for _, lost := range []int{1, 0} { // the first of the list must not create a second cluster either
		old := ms.running[lost].Member.Identity()
		ms.stop(lost)
		if err := os.RemoveAll(ms.configs[lost].DataDir); err != nil {
			t.Fatal(err)
		}
		ms.start(lost)
		if now := ms.running[lost].Member.Identity(); now.MemberID == old.MemberID || now.ClusterID != old.ClusterID {
			t.Errorf("came back as %+v, was %+v", now, old)
		}
		ms.waitForVoters(3)
		ms.member(lost).wantValue("key", "value")
	}
}

func TestBootstrapAlone(t *testing.T) {
	ms := newMasters(t, 1)
	ms.configs[0].Peers, ms.configs[0].Token = nil, ""
	ms.configs[0].PeerListen = ms.peers[0].Address
	ms.start(0)
	if !ms.running[0].Created || len(ms.running[0].Secret.Reveal()) < pki.MinSecret {
		t.Error("a cluster of one makes its own secret")
	}
	ms.member(0).put("key", "value")

	// A further master needs one server, and a token made for masters.
	token, record := pki.NewToken(pki.RoleMaster, ms.running[0].CA.Hash(), time.Hour, time.Now())
	if err := ms.running[0].Member.Tokens().CreateToken(testContext(t), record); err != nil {
		t.Fatal(err)
	}
	second := BootstrapConfig{
		DataDir: t.TempDir(), Name: "second", Servers: []string{ms.peers[0].Address}, Token: token.Reveal(),
		PeerListen: freeAddress(t), Logger: testLogger(t, "second"),
	}
	ms.configs, ms.running = append(ms.configs, second), append(ms.running, nil)
	ms.start(1)
	ms.waitForVoters(2)
	if ms.running[1].Secret != ms.running[0].Secret {
		t.Error("a new master must know the masters' secret")
	}
	ms.member(1).wantValue("key", "value")
}

func TestBootstrapRefusals(t *testing.T) {
	ms := newMasters(t, 2)
	ms.start(0)
	for _, test := range []struct {
		name   string
		change func(*BootstrapConfig)
		want   string
	}{
		{"wrong token", func(c *BootstrapConfig) { c.Token = "another secret than theirs" }, "--token"},
		{"short token", func(c *BootstrapConfig) { c.Token = "short" }, "at least 16"},
		{"no token", func(c *BootstrapConfig) { c.Token = "" }, "--token"},
		{"not in the list", func(c *BootstrapConfig) { c.Name = "stranger"; c.Peers = ms.peers[:1] }, "does not name this machine"},
		{"bad name", func(c *BootstrapConfig) { c.Name = "a=b"; c.Peers = []Peer{{Address: ms.peers[1].Address}} }, "printable"},
		{"directory in use", func(c *BootstrapConfig) { c.DataDir = ms.configs[0].DataDir }, "in use"},
		{"port taken", func(c *BootstrapConfig) { c.PeerListen = ms.peers[0].Address }, "is taken"},
		{"name taken", func(c *BootstrapConfig) {
			c.Name, c.Peers, c.Servers, c.PeerListen = "m1", nil, []string{ms.peers[0].Address}, ms.peers[1].Address
		}, "choose another --name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := ms.configs[1]
			config.DataDir = t.TempDir()
			test.change(&config)
			cluster, err := Bootstrap(testContext(t), config)
			if err == nil {
				_ = cluster.Member.Close(context.Background())
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
	ms.waitForVoters(1) // nothing was changed
}

func TestRestartRefusals(t *testing.T) {
	ms := newMasters(t, 1)
	ms.start(0)
	ms.stop(0)
	for _, test := range []struct {
		name   string
		change func(*BootstrapConfig)
		want   string
	}{
		{"another name", func(c *BootstrapConfig) { c.Name = "other" }, "belongs to another"},
		{"another cluster's secret", func(c *BootstrapConfig) { c.Token = "another secret than theirs" }, "belongs to another"},
		{"another address", func(c *BootstrapConfig) { c.Peers = []Peer{{Name: "m1", Address: freeAddress(t)}} }, "the other members know this one at"},
		{"another list", func(c *BootstrapConfig) { c.Peers = []Peer{{Name: "m2", Address: "192.0.2.1:2380"}} }, "does not name this machine"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := ms.configs[0]
			test.change(&config)
			cluster, err := Bootstrap(testContext(t), config)
			if err == nil {
				_ = cluster.Member.Close(context.Background())
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
	ms.start(0)
}

func TestBootstrapWaitsForTheFirst(t *testing.T) {
	ms := newMasters(t, 2)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("waited enough"))
	defer cancel()
	if _, err := Bootstrap(ctx, ms.configs[1]); err == nil || !strings.Contains(err.Error(), "waited enough") {
		t.Errorf("got %v", err)
	}
}

func TestParsePeers(t *testing.T) {
	got, err := ParsePeers("a=10.0.0.1, b=host:2390,[fd00::1]:99,fd00::2,")
	want := []Peer{{"a", "10.0.0.1:2380"}, {"b", "host:2390"}, {"", "[fd00::1]:99"}, {"", "[fd00::2]:2380"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"a=", "host:0", "host:99999", "a=h,a=i", "h,h", "a:b:c"} {
		if peers, err := ParsePeers(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, peers)
		}
	}
}
