package peers

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// heartbeatPair is a transport that takes heartbeats in term 2, and one that sends them.
type heartbeatPair struct {
	t       *testing.T
	stable  raft.StableStore
	member  *Transport
	leader  *raft.NetworkTransport
	handled chan uint64 // their terms
}

func newHeartbeatPair(t *testing.T, during func()) *heartbeatPair {
	open := func() *raft.NetworkTransport {
		network, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Minute, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = network.Close() })
		return network
	}
	store := raft.NewInmemStore()
	if err := store.SetUint64(raftlog.KeyCurrentTerm, 2); err != nil {
		t.Fatal(err)
	}
	h, err := NewHeartbeats(store)
	if err != nil {
		t.Fatal(err)
	}
	p := &heartbeatPair{t: t, stable: h.GuardTerms(store), member: NewTransport(TransportOptions{Network: open(), Log: durableAtOnce{}, Heartbeats: h}), leader: open(), handled: make(chan uint64, 10)}
	go p.member.relay()
	p.member.SetHeartbeatHandler(func(rpc raft.RPC) {
		if during != nil {
			during()
		}
		p.handled <- rpc.Command.(*raft.AppendEntriesRequest).Term
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	})
	return p
}

func (p *heartbeatPair) beat(term uint64) error {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, Addr: []byte("leader")}
	return p.leader.AppendEntries("m", p.member.LocalAddr(), &raft.AppendEntriesRequest{RPCHeader: header, Term: term}, &raft.AppendEntriesResponse{})
}

// TestNoHeartbeatIsHandledAfterTheEnd: one that came while a member ended noted its term in a closed store, and the process died.
func TestNoHeartbeatIsHandledAfterTheEnd(t *testing.T) {
	p := newHeartbeatPair(t, nil)
	if err := p.beat(2); err != nil || len(p.handled) != 1 {
		t.Fatalf("a heartbeat: %v, and %d were handled", err, len(p.handled))
	}
	p.member.options.Heartbeats.Close()
	if err := p.beat(2); err == nil || len(p.handled) != 1 {
		t.Errorf("a heartbeat after the end: %v, and %d were handled", err, len(p.handled))
	}
}

// TestHeartbeatsOfAnotherTermAreRafts: handled beside Raft's own goroutine they could take back a term that this one has voted in.
func TestHeartbeatsOfAnotherTermAreRafts(t *testing.T) {
	p := newHeartbeatPair(t, nil)
	for _, term := range []uint64{1, 3} {
		done := make(chan error, 1)
		go func() { done <- p.beat(term) }()
		rpc := <-p.member.Consumer()
		if got := rpc.Command.(*raft.AppendEntriesRequest).Term; got != term {
			t.Errorf("a heartbeat of term %d, want %d", got, term)
		}
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
		if err := <-done; err != nil || len(p.handled) != 0 {
			t.Errorf("a heartbeat of term %d: %v, and %d were handled elsewhere", term, err, len(p.handled))
		}
	}
}

// TestTermWaitsForHeartbeats: the term is not raised while a heartbeat of the one before is handled, whose handler may store that
// one again.
func TestTermWaitsForHeartbeats(t *testing.T) {
	handling, raised := make(chan struct{}), make(chan error, 1)
	var p *heartbeatPair
	p = newHeartbeatPair(t, func() {
		close(handling)
		if err := p.stable.SetUint64(raftlog.KeyCurrentTerm, 2); err != nil {
			t.Error(err)
		}
		select {
		case <-raised:
			t.Error("the term was raised while a heartbeat was handled")
		default:
		}
	})
	go func() {
		<-handling
		raised <- p.stable.SetUint64(raftlog.KeyCurrentTerm, 3)
	}()
	if err := p.beat(2); err != nil {
		t.Fatal(err)
	}
	if err := <-raised; err != nil {
		t.Fatal(err)
	}
	if term, err := p.stable.GetUint64(raftlog.KeyCurrentTerm); err != nil || term != 3 || p.member.options.Heartbeats.term.Load() != 3 {
		t.Error(term, err)
	}
}
