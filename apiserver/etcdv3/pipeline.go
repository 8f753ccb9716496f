package etcdv3

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/streaming"
	"github.com/ctlplane/ctlplane/kv"
)

// Bounds of what is in flight. At a bound streams are not read: gRPC's flow control then holds their clients back, and nothing
// is refused.
const (
	// streamBytes bounds one stream's writes, from their arrival until their answers are sent.
	streamBytes = 8 << 20
	// proposedBytes bounds the writes of all streams that the store works on: well below what it takes, so that there is
	// room for those who don't write in streams.
	proposedBytes = 32 << 20
	// writeOverhead is what a write counts for beyond its key and value.
	writeOverhead = 1 << 10
)

// pipelineServer is the write stream: a client's writes are proposed as they come, and answered as they are applied.
type pipelineServer struct {
	writepb.UnimplementedPipelineServer
	store    Proposer
	header   func() writepb.Header // what a client is told when its stream begins
	maxBytes int                   // of one write
	proposed *semaphore.Weighted   // in bytes, of all streams
}

func newPipelineServer(store Proposer, header func() writepb.Header, maxBytes int) *pipelineServer {
	return &pipelineServer{store: store, header: header, maxBytes: maxBytes, proposed: semaphore.NewWeighted(proposedBytes)}
}

// pipelineHeader tells clients where the leader is, whom they had better write to.
func pipelineHeader(m Membership) func() writepb.Header {
	return func() writepb.Header {
		st := m.Status()
		h := writepb.Header{Cluster: st.ClusterID, Member: st.ID, Leader: st.Leader}
		if h.Leader == 0 || h.Leader == h.Member {
			return h
		}
		for _, member := range m.MembersHere() {
			if member.ID == h.Leader {
				h.LeaderURLs = member.ClientURLs
			}
		}
		return h
	}
}

// writeStream is one client's stream. The goroutine of the handler reads writes and proposes them, another one
// sends answers, and the store's goroutines put answers into ready.
//
//  1. used is the bytes, and live the number, of the writes that were admitted and whose answers are not yet sent.
//  2. Whoever adds the first answer to an empty ready signals wake; the sender takes all there are.
type writeStream struct {
	*pipelineServer
	grpc writepb.Pipeline_WriteServer
	wake chan struct{}

	mu      sync.Mutex
	changed sync.Cond // signalled when used falls, and when the sender has ended
	ready   []*write
	used    int
	live    int
	broken  error // why the sender ended
}

// write is one write of a stream.
type write struct {
	stream *writeStream
	bytes  int
	result writepb.WriteResult
	put    pb.PutRequest
}

// Write serves one stream until the client closes it and all its writes are answered, or until it breaks.
func (s *pipelineServer) Write(stream writepb.Pipeline_WriteServer) error {
	// It tells the client that the service is there, too, and what is too large to be sent at all.
	header := s.header()
	header.MaxWriteBytes = max(s.maxBytes-envelope, 0)
	if err := stream.SendHeader(header.Metadata()); err != nil {
		return err
	}
	ws := s.newStream(stream)
	ctx, cancel := context.WithCancel(stream.Context())
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := streaming.Contained(func() error { ws.send(ctx); return nil }); err != nil {
			ws.stop(err)
		}
	})
	err := streaming.Contained(ws.take)
	cancel()
	sender.Wait()
	return err
}

func (s *pipelineServer) newStream(stream writepb.Pipeline_WriteServer) *writeStream {
	ws := &writeStream{pipelineServer: s, grpc: stream, wake: make(chan struct{}, 1)}
	ws.changed.L = &ws.mu
	return ws
}

// take proposes the stream's writes in the order in which they come.
func (ws *writeStream) take() error {
	for {
		batch, err := ws.grpc.Recv()
		if errors.Is(err, io.EOF) {
			return ws.drain()
		}
		if err != nil {
			return err
		}
		writes := make([]write, len(batch.Ops))
		for i, op := range batch.Ops {
			if err := ws.admit(opBytes(op)); err != nil {
				return err
			}
			writes[i].stream = ws
			writes[i].propose(ws.grpc.Context(), op)
		}
	}
}

// admit waits until there is room for a write.
func (ws *writeStream) admit(bytes int) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for ws.live > 0 && ws.used+bytes > streamBytes && ws.broken == nil {
		ws.changed.Wait()
	}
	ws.used += bytes
	ws.live++
	return ws.broken
}

// opBytes is what a write counts for in its stream.
func opBytes(op *writepb.WriteOp) int { return len(op.Key) + len(op.Value) + writeOverhead }

// proposedBytes is what the write counts for among all that the store works on. A write may be larger than all the room there is:
// it then has it alone.
func (w *write) proposedBytes() int64 { return int64(min(w.bytes, proposedBytes)) }

// propose hands the write to the store.
func (w *write) propose(ctx context.Context, op *writepb.WriteOp) {
	w.bytes, w.result.Id = opBytes(op), op.Id
	c := kv.Command{}
	if op.Delete {
		c.DeleteRange = &pb.DeleteRangeRequest{Key: op.Key}
	} else {
		w.put.Key, w.put.Value, w.put.Lease = op.Key, op.Value, op.Lease
		c.Put = &w.put
	}
	if err := checkSize(len(op.Key)+len(op.Value), w.stream.maxBytes); err != nil {
		w.fail(err)
	} else if err := c.Validate(); err != nil {
		w.fail(rpcerr.ToStatus(err))
	} else if err := w.stream.proposed.Acquire(ctx, w.proposedBytes()); err != nil {
		w.fail(rpcerr.ToStatus(err))
	} else {
		w.stream.store.ProposeAsync(ctx, c, w.done)
	}
}

// done takes the outcome from the store.
func (w *write) done(r kv.Result, err error) {
	w.stream.proposed.Release(w.proposedBytes())
	if err == nil {
		err = r.Err
	}
	if err != nil {
		w.fail(rpcerr.ToStatus(err))
		return
	}
	if answer, ok := r.Response.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		w.result.Revision = answer.GetHeader().GetRevision()
	}
	w.stream.add(w)
}

func (w *write) fail(err error) {
	s := status.Convert(err)
	w.result.Code, w.result.Message = uint32(s.Code()), s.Message()
	w.stream.add(w)
}

// add puts an answered write where the sender finds it.
func (ws *writeStream) add(w *write) {
	ws.mu.Lock()
	ws.ready = append(ws.ready, w)
	first := len(ws.ready) == 1
	ws.mu.Unlock()
	if first {
		select {
		case ws.wake <- struct{}{}:
		default:
		}
	}
}

// send sends answers, many in a message when there are many, until ctx ends or the stream breaks.
func (ws *writeStream) send(ctx context.Context) {
	var taken []*write
	var batch writepb.ResultBatch
	for {
		select {
		case <-ws.wake:
		case <-ctx.Done():
			ws.stop(ctx.Err())
			return
		}
		runtime.Gosched() // the other answers of the same commit are about to come
		ws.mu.Lock()
		taken, ws.ready = ws.ready, taken[:0]
		ws.mu.Unlock()
		batch.Results = batch.Results[:0]
		bytes := 0
		for _, w := range taken {
			batch.Results = append(batch.Results, &w.result)
			bytes += w.bytes
		}
		if err := ws.grpc.Send(&batch); err != nil {
			ws.stop(err)
			return
		}
		ws.sent(len(taken), bytes)
		clear(taken)
	}
}

func (ws *writeStream) sent(writes, bytes int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.live -= writes
	ws.used -= bytes
	ws.changed.Broadcast()
}

func (ws *writeStream) stop(err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.broken = err
	ws.changed.Broadcast()
}

// drain waits until every write is answered.
func (ws *writeStream) drain() error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for ws.live > 0 && ws.broken == nil {
		ws.changed.Wait()
	}
	if ws.broken != nil {
		return status.Error(codes.Canceled, ws.broken.Error())
	}
	return nil
}
