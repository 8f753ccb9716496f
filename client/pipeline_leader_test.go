package client

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/writepb"
)

// pipelineMember is a member that takes pipelined writes and says who leads.
type pipelineMember struct {
	writepb.UnimplementedPipelineServer
	t       *testing.T
	address string
	header  writepb.Header
	hold    chan struct{} // closed: writes are answered
	came    chan struct{} // has a token when a write has come
	writes  atomic.Int64
	server  *grpc.Server
}

func newPipelineMember(t *testing.T, id uint64) *pipelineMember {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &pipelineMember{t: t, address: l.Addr().String(), header: writepb.Header{Cluster: 1, Member: id}, server: grpc.NewServer(), hold: make(chan struct{}), came: make(chan struct{}, 1)}
	close(m.hold)
	writepb.RegisterPipelineServer(m.server, m)
	served := make(chan struct{})
	go func() { defer close(served); _ = m.server.Serve(l) }()
	t.Cleanup(func() { m.server.Stop(); <-served })
	return m
}

func (m *pipelineMember) Write(stream writepb.Pipeline_WriteServer) error {
	if err := stream.SendHeader(m.header.Metadata()); err != nil {
		return err
	}
	for {
		batch, err := stream.Recv()
		if err != nil {
			return err
		}
		m.writes.Add(int64(len(batch.Ops)))
		select {
		case m.came <- struct{}{}:
		default:
		}
		select {
		case <-m.hold:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		var results writepb.ResultBatch
		for _, op := range batch.Ops {
			results.Results = append(results.Results, &writepb.WriteResult{Id: op.Id, Revision: int64(m.header.Member)})
		}
		if err := stream.Send(&results); err != nil {
			return err
		}
	}
}

func (m *pipelineMember) pipeline() *Pipeline {
	m.t.Helper()
	c, err := Connect(m.t.Context(), Config{Endpoints: []string{m.address}, Insecure: true, DialTimeout: 5 * time.Second})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.Close() })
	p, err := c.Pipeline(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// TestPipelineGoesToTheLeader: one that was opened at another member, and only to the leader itself.
func TestPipelineGoesToTheLeader(t *testing.T) {
	const asked, leader = 7, 8
	at := newPipelineMember(t, leader)
	other := newPipelineMember(t, leader)
	other.header.Cluster = 2
	for name, test := range map[string]struct {
		leader uint64
		urls   []string
		want   int64
	}{
		"it leads itself":                     {asked, []string{"http://" + at.address}, asked},
		"nobody is known to lead":             {0, []string{"http://" + at.address}, asked},
		"another leads":                       {leader, []string{"http://" + at.address}, leader},
		"by the second of its addresses":      {leader, []string{"https://" + at.address, "unix:///x", "http://127.0.0.1:1", "http://" + at.address}, leader},
		"another that is not there":           {leader, []string{"http://127.0.0.1:1"}, asked},
		"another that says nowhere":           {leader, nil, asked},
		"another that says everywhere":        {leader, []string{"http://0.0.0.0:1", "http://:1", "nonsense"}, asked},
		"another member has its address":      {9, []string{"http://" + at.address}, asked},
		"another cluster's has its address":   {leader, []string{"http://" + other.address}, asked},
		"another's, and then its own address": {leader, []string{"http://" + other.address, "http://" + at.address}, leader},
	} {
		m := newPipelineMember(t, asked)
		m.header.Leader, m.header.LeaderURLs = test.leader, test.urls
		p := m.pipeline()
		if got, err := p.Put([]byte("key"), nil).Wait(t.Context()); err != nil || got != test.want {
			t.Errorf("%s: member %d answered, want %d: %v", name, got, test.want, err)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if other.writes.Load() != 0 {
		t.Error("another cluster was written to")
	}
}

// TestPipelineOutlivesTheLeader: what was in flight to a leader that is lost has an unknown outcome, is sent nowhere else, and what is
// written from then on goes to the member that was asked in the first place.
func TestPipelineOutlivesTheLeader(t *testing.T) {
	leader, asked := newPipelineMember(t, 8), newPipelineMember(t, 7)
	leader.hold = make(chan struct{})
	asked.header.Leader, asked.header.LeaderURLs = 8, []string{"http://" + leader.address}
	p := asked.pipeline()
	lost := p.Put([]byte("key"), nil)
	<-leader.came
	leader.server.Stop()
	if _, err := lost.Wait(t.Context()); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("in flight to the leader: %v", err)
	}
	for range 3 {
		if got, err := p.Put([]byte("key"), nil).Wait(t.Context()); err != nil || got != 7 {
			t.Errorf("after the leader was lost: member %d, %v", got, err)
		}
	}
	if n := asked.writes.Load(); n != 3 {
		t.Errorf("%d writes came to the other member, want 3", n)
	}
	asked.server.Stop()
	<-p.current.Load().stream.Context().Done()
	if _, err := p.Put([]byte("key"), nil).Wait(t.Context()); !errors.Is(err, ErrPipelineClosed) && !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("after both were lost: %v", err)
	}
	_ = p.Close()
	if _, err := p.Put([]byte("key"), nil).Wait(t.Context()); !errors.Is(err, ErrPipelineClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestPipelineCloseEndsTheSpareStream: a pipeline at the leader leaves nothing behind at the member that was asked.
func TestPipelineCloseEndsTheSpareStream(t *testing.T) {
	leader, asked := newPipelineMember(t, 8), newPipelineMember(t, 7)
	asked.header.Leader, asked.header.LeaderURLs = 8, []string{"http://" + leader.address}
	p := asked.pipeline()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if len(p.streams) != 2 {
		t.Fatalf("%d streams", len(p.streams))
	}
	for _, s := range p.streams {
		<-s.stream.Context().Done()
	}
	if _, err := p.Put([]byte("key"), nil).Wait(t.Context()); !errors.Is(err, ErrPipelineClosed) {
		t.Errorf("after Close: %v", err)
	}
}
