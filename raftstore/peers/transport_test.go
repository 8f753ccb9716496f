package peers

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// answeringNetwork answers every request with err, and entries with the next of appended, if there is one.
type answeringNetwork struct {
	Network
	err      error
	appended []raft.AppendEntriesResponse
}

func (n *answeringNetwork) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	if len(n.appended) > 0 {
		*response, n.appended = n.appended[0], n.appended[1:]
	}
	return n.err
}

func (n *answeringNetwork) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	return n.err
}

func (n *answeringNetwork) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return n.err
}

func (n *answeringNetwork) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest, *raft.InstallSnapshotResponse, io.Reader) error {
	return n.err
}

func (n *answeringNetwork) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return &answeringPipeline{err: n.err, answers: make(chan raft.AppendFuture, 1)}, nil
}

type answeringPipeline struct {
	err     error
	answers chan raft.AppendFuture
}

func (p *answeringPipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.answers <- pipelinedAnswer{err: p.err, request: request, response: response}
	return nil, nil
}
func (p *answeringPipeline) Consumer() <-chan raft.AppendFuture { return p.answers }
func (p *answeringPipeline) Close() error                       { return nil }

type pipelinedAnswer struct {
	raft.AppendFuture
	err      error
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
}

func (a pipelinedAnswer) Error() error                          { return a.err }
func (a pipelinedAnswer) Request() *raft.AppendEntriesRequest   { return a.request }
func (a pipelinedAnswer) Response() *raft.AppendEntriesResponse { return a.response }

// durableAtOnce stands in for a log of which everything is durable, and for a proof that nobody asks for.
type durableAtOnce struct{}

func (durableAtOnce) AwaitDurable(uint64, func() bool) bool  { return true }
func (durableAtOnce) Wake()                                  {}
func (durableAtOnce) Settle() error                          { return nil }
func (durableAtOnce) Refusals() uint64                       { return 0 }
func (durableAtOnce) LastIndex() (uint64, error)             { return 0, nil }
func (durableAtOnce) Stamp() uint64                          { return 0 }
func (durableAtOnce) Answered(raft.ServerID, uint64, uint64) {}

// TestFollowerThatCouldNotWriteLacksNothing: it is sent the same again until it can, or this member leads no more. Raft learns of no gap in
// its log.
func TestFollowerThatCouldNotWriteLacksNothing(t *testing.T) {
	accepted := raft.AppendEntriesResponse{Term: 3, LastLog: 8, Success: true}
	gap := raft.AppendEntriesResponse{Term: 3, LastLog: 5, NoRetryBackoff: true}
	laterTerm := raft.AppendEntriesResponse{Term: 4, LastLog: 7}
	noRoom := raft.AppendEntriesResponse{Term: 3, LastLog: 7}
	for what, test := range map[string]struct {
		answers []raft.AppendEntriesResponse
		leads   bool
		want    raft.AppendEntriesResponse
		fails   bool
	}{
		"accepted":             {answers: []raft.AppendEntriesResponse{accepted}, leads: true, want: accepted},
		"a gap":                {answers: []raft.AppendEntriesResponse{gap}, leads: true, want: gap},
		"a later term":         {answers: []raft.AppendEntriesResponse{laterTerm}, leads: true, want: laterTerm},
		"no room for a while":  {answers: []raft.AppendEntriesResponse{noRoom, noRoom, accepted}, leads: true, want: accepted},
		"no room, then a gap":  {answers: []raft.AppendEntriesResponse{noRoom, gap}, leads: true, want: gap},
		"no room, and no lead": {answers: []raft.AppendEntriesResponse{noRoom}, fails: true, want: noRoom},
	} {
		network := &answeringNetwork{appended: test.answers}
		transport := NewTransport(TransportOptions{
			Network: network, Log: durableAtOnce{}, Lead: durableAtOnce{},
			Commits: NewCommits(t.Context(), func(context.Context, raft.Server) {}),
			Sends:   func(raft.ServerID, uint64) bool { return test.leads },
		})
		request := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 7, PrevLogTerm: 3, Entries: []*raft.Log{{Index: 8, Term: 3}}}
		var got raft.AppendEntriesResponse
		if err := transport.AppendEntries("m", "", request, &got); (err != nil) != test.fails || !reflect.DeepEqual(got, test.want) || len(network.appended) > 0 {
			t.Errorf("%s: %v, %v, and %d answers are left", what, got, err, len(network.appended))
		}
	}
}

// TestRequestsThatFailAreTold: of every kind, once each.
func TestRequestsThatFailAreTold(t *testing.T) {
	for _, failure := range []error{nil, errors.New("connection refused")} {
		var told []raft.ServerID
		transport := NewTransport(TransportOptions{
			Network: &answeringNetwork{err: failure}, Log: durableAtOnce{}, Lead: durableAtOnce{},
			Commits:   NewCommits(t.Context(), func(context.Context, raft.Server) {}),
			Sends:     func(raft.ServerID, uint64) bool { return true },
			OnFailure: func(to raft.ServerID) { told = append(told, to) },
		})
		for what, request := range map[string]func() error{
			"entries": func() error {
				return transport.AppendEntries("m", "", &raft.AppendEntriesRequest{PrevLogEntry: 7}, &raft.AppendEntriesResponse{Success: true})
			},
			"a snapshot": func() error {
				return transport.InstallSnapshot("m", "", &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, nil)
			},
			"a vote":     func() error { return transport.RequestVote("m", "", nil, nil) },
			"a pre-vote": func() error { return transport.RequestPreVote("m", "", nil, nil) },
			"a pipeline": func() error {
				p, err := transport.AppendEntriesPipeline("m", "")
				if err != nil {
					return err
				}
				if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}); err != nil {
					return err
				}
				answer := <-p.Consumer()
				return errors.Join(answer.Error(), p.Close())
			},
		} {
			told = nil
			if err := request(); (err != nil) != (failure != nil) {
				t.Errorf("%s: %v", what, err)
			}
			var want []raft.ServerID
			if failure != nil {
				want = []raft.ServerID{"m"}
			}
			if !slices.Equal(told, want) {
				t.Errorf("%s that ended with %v: told of %v, want %v", what, failure, told, want)
			}
			transport.silence.outcome("m", nil) // the next one does not wait
		}
	}
}

// TestSenderLearnsThatNoAnswerIsTaken: Raft takes no more answers of a pipeline after one that refuses entries, and it may be waiting
// for room in the pipeline. Then nothing more was sent to the follower until another member led.
func TestSenderLearnsThatNoAnswerIsTaken(t *testing.T) {
	var networks [2]*raft.NetworkTransport
	for i := range networks {
		network, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, 0, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		networks[i] = network
	}
	leader, follower := networks[0], networks[1]
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case rpc := <-follower.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 3}, nil)
			case <-ended:
				return
			}
		}
	}()
	transport := NewTransport(TransportOptions{
		Network: leader, Log: durableAtOnce{}, Lead: durableAtOnce{},
		Commits: NewCommits(t.Context(), func(context.Context, raft.Server) {}),
		Sends:   func(raft.ServerID, uint64) bool { return true },
	})
	p, err := transport.AppendEntriesPipeline("m", follower.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for index := uint64(8); ; index++ {
			request := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: index - 1, PrevLogTerm: 3, Entries: []*raft.Log{{Index: index, Term: 3}}}
			if _, err := p.AppendEntries(request, new(raft.AppendEntriesResponse)); err != nil {
				sent <- err
				return
			}
		}
	}()
	if answer := <-p.Consumer(); answer.Response().Success {
		t.Fatal("the entries were accepted")
	}
	select {
	case <-sent:
	case <-time.After(time.Minute):
		t.Error("the sender waits for room in a pipeline of which nobody takes answers")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
