package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
)

// scriptedPipeline is a Pipeline service whose answers a test decides.
type scriptedPipeline struct {
	writepb.UnimplementedPipelineServer
	serve func(writepb.Pipeline_WriteServer) error
}

func (s *scriptedPipeline) Write(stream writepb.Pipeline_WriteServer) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	return s.serve(stream)
}

// connectTo starts a gRPC server on a loopback port, and a client of it.
func connectTo(t *testing.T, register func(*grpc.Server)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	register(srv)
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	c, err := Connect(t.Context(), Config{Endpoints: []string{l.Addr().String()}, Insecure: true, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func openPipeline(t *testing.T, ctx context.Context, serve func(writepb.Pipeline_WriteServer) error) *Pipeline {
	t.Helper()
	c := connectTo(t, func(s *grpc.Server) { writepb.RegisterPipelineServer(s, &scriptedPipeline{serve: serve}) })
	p, err := c.Pipeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// answerAll answers each write of a message in reverse order with growing revisions, and refuses keys that say so.
func answerAll(stream writepb.Pipeline_WriteServer) error {
	revision := int64(1)
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var out writepb.ResultBatch
		for _, op := range in.Ops {
			revision++
			r := &writepb.WriteResult{Id: op.Id, Revision: revision}
			if strings.HasPrefix(string(op.Key), "refuse") {
				r = &writepb.WriteResult{Id: op.Id, Code: uint32(codes.NotFound), Message: "etcdserver: requested lease not found"}
			}
			out.Results = append(out.Results, r)
		}
		slices.Reverse(out.Results)
		if err := stream.Send(&out); err != nil {
			return err
		}
	}
}

func TestPipelineAnswersEachWrite(t *testing.T) {
	p := openPipeline(t, t.Context(), answerAll)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 500 {
				pending := p.Put(fmt.Appendf(nil, "k%d-%d", w, i), []byte("v"))
				if i%50 != 0 {
					continue
				}
				if rev, err := pending.Wait(t.Context()); err != nil || rev < 2 {
					t.Errorf("write %d of writer %d: revision %d, %v", i, w, rev, err)
				}
			}
		})
	}
	writers.Wait()
	refused := p.Put([]byte("refuse"), nil)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := refused.Wait(t.Context()); status.Code(err) != codes.NotFound {
		t.Errorf("refused write: %v", err)
	}
	if _, err := p.Put([]byte("late"), nil).Wait(t.Context()); !errors.Is(err, ErrPipelineClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestPipelineProposesInOrder(t *testing.T) {
	var got []string
	p := openPipeline(t, t.Context(), func(stream writepb.Pipeline_WriteServer) error {
		for {
			in, err := stream.Recv()
			if err != nil {
				return err
			}
			out := &writepb.ResultBatch{}
			for _, op := range in.Ops {
				got = append(got, string(op.Key))
				out.Results = append(out.Results, &writepb.WriteResult{Id: op.Id, Revision: 1})
			}
			if err := stream.Send(out); err != nil {
				return err
			}
		}
	})
	var want []string
	for i := range 5000 {
		want = append(want, fmt.Sprintf("k%d", i))
		p.PutFunc([]byte(want[i]), nil, func(int64, error) {})
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("the server saw the writes in another order")
	}
}

func TestPipelineBrokenStreamLeavesOutcomeUnknown(t *testing.T) {
	p := openPipeline(t, t.Context(), func(stream writepb.Pipeline_WriteServer) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "etcdserver: server stopped")
	})
	if _, err := p.Put([]byte("k"), nil).Wait(t.Context()); !errors.Is(err, ErrOutcomeUnknown) || status.Code(err) != codes.Unavailable {
		t.Errorf("write in flight: %v", err)
	}
	if _, err := p.Put([]byte("k"), nil).Wait(t.Context()); !errors.Is(err, ErrPipelineClosed) {
		t.Errorf("write after the end: %v", err)
	}
	if err := p.Close(); status.Code(err) != codes.Unavailable {
		t.Errorf("Close of a broken pipeline: %v", err)
	}
}

func TestPipelineRejectsAnswerToUnknownWrite(t *testing.T) {
	p := openPipeline(t, t.Context(), func(stream writepb.Pipeline_WriteServer) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if err := stream.Send(&writepb.ResultBatch{Results: []*writepb.WriteResult{{Id: 1 << 40}}}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	})
	if _, err := p.Put([]byte("k"), nil).Wait(t.Context()); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("write in flight: %v", err)
	}
	_ = p.Close()
}

// A writer that is ahead of a server that doesn't answer is held back at the bound, and goes on when answers come.
func TestPipelineBoundsBytesInFlight(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	p := openPipeline(t, t.Context(), func(stream writepb.Pipeline_WriteServer) error {
		close(held)
		<-release
		return answerAll(stream)
	})
	<-held
	value := make([]byte, 1<<20)
	returned := make(chan int, 64)
	go func() {
		defer close(returned)
		for i := range 32 {
			p.PutFunc([]byte("k"), value, func(int64, error) {})
			returned <- i
		}
	}()
	for range pipelineBytes/(1<<20) - 1 {
		<-returned
	}
	s := p.current.Load()
	s.mu.Lock()
	for s.waiting == 0 { // the writer is on its way into the wait
		s.mu.Unlock()
		s.mu.Lock()
	}
	if s.used > pipelineBytes {
		t.Errorf("%d bytes in flight", s.used)
	}
	s.mu.Unlock()
	close(release)
	for range returned {
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPipelineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := openPipeline(t, ctx, func(stream writepb.Pipeline_WriteServer) error {
		<-stream.Context().Done()
		return nil
	})
	pending := p.Put([]byte("k"), nil)
	cancel()
	if _, err := pending.Wait(t.Context()); !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("write in flight: %v", err)
	}
	_ = p.Close()
}

func TestPipelineAgainstServerWithoutIt(t *testing.T) {
	c := connectTo(t, func(*grpc.Server) {})
	if _, err := c.Pipeline(t.Context()); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "only a ctlplane master") {
		t.Errorf("got %v", err)
	}
}

func TestConnectRefusesBadConfig(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"no endpoint":    {Config{Insecure: true}, "no endpoints"},
		"no TLS":         {Config{Endpoints: []string{"a:1"}}, "no TLS configuration"},
		"wrong scheme":   {Config{Endpoints: []string{"https://a:1"}, Insecure: true}, "does not go with"},
		"no port":        {Config{Endpoints: []string{"a"}, Insecure: true}, "not host:port"},
		"nobody answers": {Config{Endpoints: []string{closedPort(t)}, Insecure: true, DialTimeout: 100 * time.Millisecond}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Connect(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// closedPort is an address that nobody listens at.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestPipelineTellsWhichWritesWereNotMade: only an answer that the store gives in place of a write says that it was not made.
func TestPipelineTellsWhichWritesWereNotMade(t *testing.T) {
	refused := map[error]bool{
		rpctypes.ErrGRPCNoLeader: true, rpctypes.ErrGRPCNoSpace: true, rpctypes.ErrGRPCRequestTooManyRequests: true,
		rpctypes.ErrGRPCEmptyKey: true, rpctypes.ErrGRPCLeaseNotFound: true, rpctypes.ErrGRPCPermissionDenied: true,
		rpctypes.ErrGRPCInvalidAuthToken: true, rpctypes.ErrGRPCRequestTooLarge: true, rpctypes.ErrGRPCCorrupt: true,
		rpctypes.ErrGRPCAuthOldRevision: true,

		rpctypes.ErrGRPCTimeoutDueToLeaderFail: false, rpctypes.ErrGRPCStopped: false, rpctypes.ErrGRPCDeadlineExceeded: false,
		rpctypes.ErrGRPCCanceled:                          false,
		status.Error(codes.Unknown, "something else"):     false,
		status.Error(codes.Internal, "a fault"):           false,
		status.Error(codes.DataLoss, "not etcd's"):        false,
		status.Error(codes.Aborted, "from elsewhere"):     false,
		status.Error(codes.Code(99), "of a later server"): false,
	}
	for err, refusal := range refused {
		s := status.Convert(err)
		got := resultError(&writepb.WriteResult{Code: uint32(s.Code()), Message: s.Message()})
		if errors.Is(got, ErrOutcomeUnknown) == refusal || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if err := resultError(&writepb.WriteResult{}); err != nil {
		t.Error(err)
	}
}
