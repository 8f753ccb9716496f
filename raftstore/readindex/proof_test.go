package readindex

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/failure"
)

func testVoters(ids ...raft.ServerID) func() []raft.Server {
	var servers []raft.Server
	for _, id := range ids {
		servers = append(servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
	}
	return func() []raft.Server { return slices.Clone(servers) }
}

// TestProofCountsAnswersToLaterRequests: an answer counts for the rounds that began before its request, in its own term, and only
// a voter's.
func TestProofCountsAnswersToLaterRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		voters []raft.ServerID
		answer func(p *Proof, before, now uint64)
		want   bool
	}{
		{"a majority", []raft.ServerID{"a", "b", "c"}, func(p *Proof, _, now uint64) { p.Answered("b", 7, now) }, true},
		{"nobody", []raft.ServerID{"a", "b", "c"}, func(*Proof, uint64, uint64) {}, false},
		{"itself alone", []raft.ServerID{"a"}, func(*Proof, uint64, uint64) {}, true},
		{"two of four", []raft.ServerID{"a", "b", "c", "d"}, func(p *Proof, _, now uint64) { p.Answered("b", 7, now) }, false},
		{"a request that had begun before", []raft.ServerID{"a", "b", "c"}, func(p *Proof, before, _ uint64) {
			p.Answered("b", 7, before)
			p.Answered("c", 7, before)
		}, false},
		{"another term", []raft.ServerID{"a", "b", "c"}, func(p *Proof, _, now uint64) {
			p.Answered("b", 6, now)
			p.Answered("c", 8, now)
		}, false},
		{"no voter", []raft.ServerID{"a", "b", "c"}, func(p *Proof, _, now uint64) { p.Answered("d", 7, now) }, false},
		{"a voter that leads but does not vote", []raft.ServerID{"b", "c"}, func(p *Proof, _, now uint64) { p.Answered("b", 7, now) }, false},
		{"late answers to earlier requests", []raft.ServerID{"a", "b", "c"}, func(p *Proof, before, now uint64) {
			p.Answered("b", 7, now)
			p.Answered("b", 7, before)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewProof(t.Context(), "a", testVoters(test.voters...), nil)
			p.begin(7)
			before := p.Stamp()
			round := p.begin(7)
			test.answer(p, before, p.Stamp())
			if got := p.proved(round); got != test.want {
				t.Errorf("proved: %v", got)
			}
		})
	}
}

// TestProofAsksUntilItIsAnswered: a voter that can't be reached is asked again; one that has answered is not.
func TestProofAsksUntilItIsAnswered(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	asked := map[raft.ServerID]int{}
	var p *Proof
	p = NewProof(ctx, "a", testVoters("a", "b", "c"), func(to raft.Server, term uint64) error {
		mu.Lock()
		defer mu.Unlock()
		asked[to.ID]++
		if to.ID == "c" || asked["b"] < 3 {
			return errors.New("unreachable")
		}
		p.Answered(to.ID, term, p.Stamp())
		return nil
	})
	leads := func() (bool, <-chan struct{}) { return true, nil }
	if err := p.Prove(ctx, 7, leads); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if asked["b"] != 3 {
		t.Errorf("asked %d times until there was an answer", asked["b"])
	}
	mu.Unlock()
	lost := make(chan struct{})
	close(lost)
	calls := 0
	err := p.Prove(ctx, 8, func() (bool, <-chan struct{}) {
		calls++
		return calls < 2, lost
	})
	if !errors.Is(err, failure.ErrNotLeading) {
		t.Errorf("the lead was lost: %v", err)
	}
	cancel()
	p.Wait()
}
