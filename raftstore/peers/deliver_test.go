package peers

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// refusingLog stands in for a log on a disk that refuses entries.
type refusingLog struct {
	durableAtOnce
	settles  error
	refusals uint64
}

func (l *refusingLog) Settle() error              { return l.settles }
func (l *refusingLog) Refusals() uint64           { return l.refusals }
func (l *refusingLog) LastIndex() (uint64, error) { return 8, nil }

// TestRefusalSaysWhy: the leader counts back in the log where a follower lacks entries, not where its disk is full.
func TestRefusalSaysWhy(t *testing.T) {
	network, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	beats, err := NewHeartbeats(raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	defer beats.Close()
	beats.term.Store(3)
	full := errors.New("no space left on device")
	for what, test := range map[string]struct {
		settles error
		refuses bool // what is stored now
		raft    *raft.AppendEntriesResponse
		term    uint64
		want    raft.AppendEntriesResponse
	}{
		"accepted":            {raft: &raft.AppendEntriesResponse{Term: 3, Success: true}, term: 3, want: raft.AppendEntriesResponse{Term: 3, Success: true}},
		"a full disk":         {refuses: true, raft: &raft.AppendEntriesResponse{Term: 3}, term: 3, want: raft.AppendEntriesResponse{Term: 3}},
		"an entry is missing": {raft: &raft.AppendEntriesResponse{Term: 3}, term: 3, want: raft.AppendEntriesResponse{Term: 3, NoRetryBackoff: true}},
		"refused before":      {settles: full, term: 4, want: raft.AppendEntriesResponse{Term: 4, LastLog: 8}},
		"an earlier term":     {settles: full, raft: &raft.AppendEntriesResponse{Term: 3}, term: 2, want: raft.AppendEntriesResponse{Term: 3, NoRetryBackoff: true}},
	} {
		log := &refusingLog{settles: test.settles}
		member := NewTransport(TransportOptions{Network: network, Log: log, Heartbeats: beats})
		answers := make(chan raft.RPCResponse, 1)
		request := &raft.AppendEntriesRequest{Term: test.term, Entries: []*raft.Log{{Index: 9, Term: test.term}}}
		delivered := make(chan struct{})
		go func() {
			member.deliver(raft.RPC{Command: request, RespChan: answers})
			close(delivered)
		}()
		if test.raft != nil {
			rpc := <-member.Consumer()
			if test.refuses {
				log.refusals++
			}
			rpc.Respond(test.raft, nil)
		}
		answer := <-answers
		<-delivered
		got := answer.Response.(*raft.AppendEntriesResponse)
		if answer.Error != nil || got.Term != test.want.Term || got.LastLog != test.want.LastLog || got.Success != test.want.Success || got.NoRetryBackoff != test.want.NoRetryBackoff {
			t.Errorf("%s: %+v, %v; want %+v", what, got, answer.Error, test.want)
		}
	}
}
