package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
)

// fakeServer is a member that keeps the newest value of each key, or refuses all puts.
type fakeServer struct {
	pb.UnimplementedKVServer
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedWatchServer
	pb.UnimplementedLeaseServer
	writepb.UnimplementedPipelineServer
	id, leader uint64
	refuse     error
	valueSize  int // what values are to have; 0: any
	puts       atomic.Int64
	badPuts    atomic.Int64
	compacted  atomic.Int64
	loseEvents bool

	mu       sync.Mutex
	revision int64
	data     map[string]*mvccpb.KeyValue
	watchers []fakeWatcher
	leases   map[int64]bool
}

type fakeWatcher struct {
	key  string
	send chan<- *pb.WatchResponse
	done <-chan struct{}
}

func (s *fakeServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: s.id}, Leader: s.leader, Version: "9.9.9"}, nil
}

func (s *fakeServer) put(key, value []byte) int64 {
	s.puts.Add(1)
	if len(key) != 16 || !bytes.HasPrefix(key, []byte(keyPrefix)) || s.valueSize > 0 && len(value) != s.valueSize {
		s.badPuts.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = map[string]*mvccpb.KeyValue{}
	}
	s.revision++
	kv := &mvccpb.KeyValue{Key: bytes.Clone(key), Value: bytes.Clone(value), ModRevision: s.revision}
	s.data[string(key)] = kv
	for i, w := range s.watchers {
		if w.key != string(key) || s.loseEvents && i == 0 {
			continue
		}
		select {
		case w.send <- &pb.WatchResponse{WatchId: int64(i), Events: []*mvccpb.Event{{Kv: kv}}}:
		case <-w.done:
		}
	}
	return s.revision
}

func (s *fakeServer) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if s.refuse != nil {
		return nil, s.refuse
	}
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: s.put(r.Key, r.Value)}}, nil
}

func (s *fakeServer) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: s.revision}}
	for key, kv := range s.data {
		if key == string(r.Key) || len(r.RangeEnd) > 0 && key >= string(r.Key) && key < string(r.RangeEnd) {
			resp.Kvs = append(resp.Kvs, kv)
		}
	}
	return resp, nil
}

// Txn knows puts, and one compare of a mod revision with a get for when it fails.
func (s *fakeServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	for _, c := range r.Compare {
		found, _ := s.Range(ctx, &pb.RangeRequest{Key: c.Key})
		var at int64
		if len(found.Kvs) > 0 {
			at = found.Kvs[0].ModRevision
		}
		if at != c.GetModRevision() {
			op := &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: found}}
			return &pb.TxnResponse{Header: found.Header, Responses: []*pb.ResponseOp{op}}, nil
		}
	}
	var revision int64
	for _, op := range r.Success {
		revision = s.put(op.GetRequestPut().Key, op.GetRequestPut().Value)
	}
	return &pb.TxnResponse{Header: &pb.ResponseHeader{Revision: revision}, Succeeded: true}, nil
}

func (s *fakeServer) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	s.compacted.Store(r.Revision)
	return &pb.CompactionResponse{}, nil
}

func (s *fakeServer) Watch(stream pb.Watch_WatchServer) error {
	events := make(chan *pb.WatchResponse, 1024)
	sent := make(chan struct{})
	defer func() { <-sent }()
	go func() {
		defer close(sent)
		for {
			select {
			case e := <-events:
				_ = stream.Send(e) // one that is gone is seen by Recv
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.mu.Lock()
		s.watchers = append(s.watchers, fakeWatcher{string(req.GetCreateRequest().Key), events, stream.Context().Done()})
		s.mu.Unlock()
		events <- &pb.WatchResponse{Created: true}
	}
}

func (s *fakeServer) LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases == nil {
		s.leases = map[int64]bool{}
	}
	s.revision++
	s.leases[s.revision] = true
	return &pb.LeaseGrantResponse{ID: s.revision, TTL: 60}, nil
}

func (s *fakeServer) LeaseRevoke(_ context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, r.ID)
	return &pb.LeaseRevokeResponse{}, nil
}

func (s *fakeServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.mu.Lock()
		resp := &pb.LeaseKeepAliveResponse{ID: req.ID}
		if s.leases[req.ID] {
			resp.TTL = 60
		}
		s.mu.Unlock()
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

func (s *fakeServer) Write(stream writepb.Pipeline_WriteServer) error {
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &writepb.ResultBatch{}
		for _, op := range in.Ops {
			refused := status.Convert(s.refuse)
			out.Results = append(out.Results, &writepb.WriteResult{Id: op.Id, Revision: s.put(op.Key, op.Value), Code: uint32(refused.Code()), Message: refused.Message()})
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// start serves s on a loopback port, with or without the write stream, and returns its address.
func (s *fakeServer) start(t testing.TB, pipeline bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	pb.RegisterKVServer(srv, s)
	pb.RegisterMaintenanceServer(srv, s)
	pb.RegisterWatchServer(srv, s)
	pb.RegisterLeaseServer(srv, s)
	if pipeline {
		writepb.RegisterPipelineServer(srv, s)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	return "http://" + l.Addr().String()
}
