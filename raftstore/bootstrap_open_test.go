package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/pki/files"
)

// openMasters are started as etcd's members are: what proves that they belong together is no secret.
func openMasters(t *testing.T, n int) *masters {
	ms := newMasters(t, n)
	for i := range ms.configs {
		ms.configs[i].OpenToken = true
		ms.configs[i].PeerURLs = []string{"http://" + ms.peers[i].Address}
	}
	return ms
}

func TestMemberThatWasAddedJoinsByTheList(t *testing.T) {
	ms := openMasters(t, 3)
	for i := range 2 {
		ms.configs[i].Peers = ms.peers[:2]
	}
	ms.start(0, 1)
	id, err := ms.running[0].Member.ReserveMember(testContext(t), []string{"http://" + ms.peers[2].Address}, false)
	if err != nil {
		t.Fatal(err)
	}

	// Who lists other members belongs to another cluster.
	ms.configs[2].Existing, ms.configs[2].Token = true, ""
	ms.configs[2].Peers = []Peer{ms.peers[0], ms.peers[2]}
	if _, err := Bootstrap(testContext(t), ms.configs[2]); !errors.Is(err, errOtherList) {
		t.Errorf("with another list: %v", err)
	}
	ms.configs[2].Peers = []Peer{ms.peers[2], ms.peers[1], ms.peers[0]}
	ms.start(2)
	if got := ms.running[2].Member.Identity().MemberID; got != id {
		t.Errorf("the member has id %x, it was added as %x", got, id)
	}
	if !ms.running[2].Joined {
		t.Error("it did not join")
	}
}

func TestListIsNoKeyToMastersWithASecret(t *testing.T) {
	ms := newMasters(t, 2)
	ms.configs[0].Peers = ms.peers[:1]
	ms.start(0)
	if _, err := ms.running[0].Member.ReserveMember(testContext(t), []string{"http://" + ms.peers[1].Address}, false); err != nil {
		t.Fatal(err)
	}
	ms.configs[1].Existing, ms.configs[1].OpenToken, ms.configs[1].Token = true, true, ""
	if _, err := Bootstrap(testContext(t), ms.configs[1]); !errors.Is(err, errOtherList) {
		t.Errorf("got %v", err)
	}
}

func TestOpenTokenIsNotHeldAgainstARestart(t *testing.T) {
	ms := openMasters(t, 1)
	ms.start(0)
	ms.stop(0)
	ms.configs[0].Token = "made of a list that has grown since"
	ms.configs[0].Peers = nil
	ms.configs[0].PeerURLs = []string{"http://192.0.2.1:2380"} // and of addresses that have changed
	ms.start(0)
	identity := ms.running[0].Member.Identity()
	if identity.PeerAddress != ms.peers[0].Address || !slices.Equal(identity.PeerURLs, []string{"http://" + ms.peers[0].Address}) {
		t.Errorf("the member goes by %s %v", identity.PeerAddress, identity.PeerURLs)
	}
}

// TestMembersWithCertificatesOfTheUsers has two members prove themselves by an authority that is not the cluster's.
func TestMembersWithCertificatesOfTheUsers(t *testing.T) {
	ms := openMasters(t, 3)
	ours, theirs := newUserFiles(t), newUserFiles(t)
	for i := range 2 {
		ms.configs[i].Peers = ms.peers[:2]
		ms.configs[i].Member.PeerSecurity = ours(ms.peers[i].Name)
	}
	ms.start(0, 1)
	stranger := ms.configs[2]
	stranger.Member.PeerSecurity = theirs("m3")
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	stranger.Logger = slog.New(slog.NewTextHandler(cancelOn{cancel, "unknown authority"}, nil))
	if _, err := Bootstrap(ctx, stranger); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a member with another authority's certificate: %v", err)
	}
}

// cancelOn ends something when a word is logged.
type cancelOn struct {
	cancel context.CancelFunc
	word   string
}

func (c cancelOn) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.word) {
		c.cancel()
	}
	return len(line), nil
}

// newUserFiles is an authority; what it answers makes a member's certificate and reads it as a user's.
func newUserFiles(t *testing.T) func(name string) *pki.PeerSecurity {
	t.Helper()
	ca, err := pki.NewCA("user", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := durable.WriteFile(filepath.Join(dir, "ca.crt"), ca.CertPEM()); err != nil {
		t.Fatal(err)
	}
	return func(name string) *pki.PeerSecurity {
		if _, err := ca.EnsureLeaf(dir, name, pki.Leaf{CommonName: name, Hosts: []string{"127.0.0.1"}, Client: true, Server: true}, time.Now()); err != nil {
			t.Fatal(err)
		}
		pair := pki.PairFile(dir, name)
		bundle, err := files.Open(files.Settings{CertFile: pair, KeyFile: pair, TrustedCAFile: filepath.Join(dir, "ca.crt"), ClientCertAuth: true})
		if err != nil {
			t.Fatal(err)
		}
		return bundle.Peers()
	}
}

func TestPeerPortAtSeveralAddresses(t *testing.T) {
	listener, err := listenAll([]string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}, Listen)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range listener.(*listeners).ports {
		conn, err := net.Dial("tcp", port.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := listener.Accept()
		if err != nil || accepted.LocalAddr().String() != port.Addr().String() {
			t.Errorf("%v: accepted %v, %v", port.Addr(), accepted, err)
		}
		_ = accepted.Close()
		_ = conn.Close()
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	taken, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := listenAll([]string{"127.0.0.1:0", taken.Addr().String()}, Listen); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestSharedPort(t *testing.T) {
	first, err := ListenShared("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := ListenShared(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}

// TestLogApart keeps a member's log in a directory of its own, and the member from starting without it.
func TestLogApart(t *testing.T) {
	ms := newMasters(t, 1)
	log := filepath.Join(t.TempDir(), "log")
	ms.configs[0].Peers = nil
	ms.configs[0].PeerListen = ms.peers[0].Address
	ms.configs[0].Member.LogDir = log
	ms.start(0)
	if err := ms.running[0].Member.LinearizableRead(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(log); !errors.Is(err, ErrInUse) {
		t.Errorf("the log's directory is not locked: %v", err)
	}
	ms.stop(0)
	for _, other := range []string{"", t.TempDir()} {
		config := ms.configs[0]
		config.Member.LogDir = other
		if _, err := Bootstrap(testContext(t), config); err == nil || !strings.Contains(err.Error(), "--wal-dir") {
			t.Errorf("with its log at %q: %v", other, err)
		}
	}
	ms.start(0)
}
