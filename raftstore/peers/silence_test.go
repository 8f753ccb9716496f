package peers

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func TestSilenceEndsWithTheLead(t *testing.T) {
	leads := true
	s := newSilence(func(raft.ServerID, uint64) bool { return leads })
	down := errors.New("connection refused")
	for range silentAfter {
		if err := s.wait("a", 1); err != nil {
			t.Fatalf("before it is silent: %v", err)
		}
		s.outcome("a", down)
	}
	if s.silent("a") == nil || s.silent("b") != nil {
		t.Error("the wrong follower is silent")
	}
	answered := make(chan error)
	go func() { answered <- s.wait("a", 1) }()
	s.outcome("a", nil)
	if err := <-answered; err != nil {
		t.Errorf("once it answers: %v", err)
	}
	for range silentAfter {
		s.outcome("a", down)
	}
	leads = false
	if err := s.wait("a", 1); !errors.Is(err, errSilent) {
		t.Errorf("once the lead is lost: %v", err)
	}
}
