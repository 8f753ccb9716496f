package watch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/mem"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/streaming"
	"github.com/ctlplane/ctlplane/kv"
)

// noWatch is the id of answers that belong to no watch, or to all of the stream.
const noWatch = -1

// maxWatches bounds the watches of one stream: each takes some memory for as long as it is there.
const maxWatches = 100_000

// server is etcd's Watch service.
type server struct {
	pb.UnimplementedWatchServer
	store Store
	log   *slog.Logger
	clock clock.WithTicker
	// permit tells whether the caller may watch a range.
	permit Permit
	// progressInterval is how often quiet watches are told how far they are.
	progressInterval time.Duration
	// fragmentBytes is about how large a response gets where the client takes it in parts.
	fragmentBytes int
}

// NewServer makes the service over a store.
func NewServer(store Store, permit Permit, o Options) pb.WatchServer {
	o = o.withDefaults()
	return &server{
		store: store, permit: permit, log: o.Logger, clock: o.Clock, progressInterval: o.ProgressInterval, fragmentBytes: o.FragmentBytes,
	}
}

// stream is one client's stream of watches: one goroutine takes requests, another one sends events.
//
//  1. Only who holds sending sends. A watch is started, and its creation answered, under one hold of it, and so is
//     its end: no event of a watch is sent before its creation was, or after its end was.
//  2. watches are those that were created and not ended; events of others, that were on the way, are dropped.
//  3. Only the sending goroutine takes events from the store and asks how far the stream is, so that when it sends
//     progress every event up to there has been sent.
//  4. When the store is replaced under the stream, the sending goroutine takes the watches over to the new one. A
//     request that comes in between waits for that.
type stream struct {
	*server
	ctx  context.Context
	grpc pb.Watch_WatchServer

	sending  sync.Mutex
	events   *kv.WatchStream
	replaced chan struct{} // closed when events is another one
	watches  map[int64]*watchState
	message  message

	progress progressRequests
}

// watchState is what the stream knows of a watch.
type watchState struct {
	start          int64      // the revision that it was asked for from; 0 is "from now"
	fragment       bool       // events larger than a message may come in several
	progressNotify bool       // wants to know of progress when there are no events
	quiet          bool       // no events since the last report of progress
	id             mem.Buffer // the field of its id, encoded
	permission     Permission
}

// Watch serves a stream until the client ends it, or it breaks.
func (s *server) Watch(client pb.Watch_WatchServer) error {
	ctx, cancel := context.WithCancelCause(client.Context())
	ws := &stream{
		server: s, ctx: ctx, grpc: client,
		events: s.store.NewWatchStream(), replaced: make(chan struct{}), watches: map[int64]*watchState{},
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := streaming.Contained(ws.send); err != nil {
			cancel(err)
		}
	})
	err := streaming.Contained(ws.take)
	cancel(nil)
	sender.Wait()
	ws.events.Close()
	return err
}

// take handles requests until the stream ends.
func (ws *stream) take() error {
	requests := streaming.Receive(ws.ctx, ws.grpc.Recv)
	for {
		select {
		case req := <-requests:
			if errors.Is(req.Err, io.EOF) { // no more requests, but events still
				requests = nil
				continue
			}
			if req.Err == nil {
				req.Err = ws.handle(req.Request)
			}
			if req.Err != nil {
				return ws.end(req.Err)
			}
		case <-ws.ctx.Done():
			return ws.end(ws.ctx.Err())
		}
	}
}

// end is the error of the stream, which etcd's clients take for a reason to open another, or to give up.
func (ws *stream) end(err error) error {
	if cause := context.Cause(ws.ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return rpcerr.ToStatus(err)
}

func (ws *stream) handle(req *pb.WatchRequest) error {
	switch r := req.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if r.CreateRequest != nil {
			return ws.inStore(func() error { return ws.create(r.CreateRequest) })
		}
	case *pb.WatchRequest_CancelRequest:
		if r.CancelRequest != nil {
			return ws.inStore(func() error { return ws.cancel(r.CancelRequest.WatchId) })
		}
	case *pb.WatchRequest_ProgressRequest:
		if r.ProgressRequest != nil {
			ws.progress.ask()
		}
	}
	return nil // an unknown request is of a later version: it gets no answer, as in etcd
}

// inStore does something with sending held, and again if the store was closed and another has taken its place.
func (ws *stream) inStore(do func() error) error {
	for {
		ws.sending.Lock()
		err, replaced := do(), ws.replaced
		ws.sending.Unlock()
		if !errors.Is(err, kv.ErrClosed) {
			return err
		}
		select {
		case <-replaced:
		case <-ws.ctx.Done():
			return ws.ctx.Err()
		}
	}
}

// create starts a watch and answers. sending is held.
func (ws *stream) create(r *pb.WatchCreateRequest) error {
	// Taken before the watch is there: a client that comes back asks from this revision on, and may rather get an event
	// twice than miss it.
	resp := &pb.WatchResponse{Header: ws.store.Header(), Created: true}
	id, permission, err := ws.start(r, resp.Header.Revision)
	if errors.Is(err, kv.ErrClosed) {
		return err
	}
	if err != nil {
		resp.WatchId, resp.Canceled, resp.CancelReason = noWatch, true, refusal(err)
		return ws.grpc.Send(resp)
	}
	ws.watches[id] = &watchState{
		start: r.StartRevision, fragment: r.Fragment, progressNotify: r.ProgressNotify, quiet: true, id: encodeID(id), permission: permission,
	}
	resp.WatchId = id
	return ws.grpc.Send(resp)
}

// start opens the watch that r asks for. One "from now" begins after the revision given, which a follower's state may not have
// reached yet.
func (ws *stream) start(r *pb.WatchCreateRequest, now int64) (int64, Permission, error) {
	if r.StartRevision < 0 {
		return 0, nil, kv.ErrCompacted
	}
	w := kv.WatchRequest{ID: r.WatchId, Key: r.Key, RangeEnd: r.RangeEnd, StartRevision: r.StartRevision, PrevKV: r.PrevKv}
	if w.StartRevision == 0 {
		w.StartRevision = now + 1
	}
	if len(w.Key) == 0 {
		w.Key = []byte{0} // the smallest key
	}
	permission, err := ws.permit(ws.ctx, w.Key, w.RangeEnd)
	if err != nil {
		return 0, nil, err
	}
	if len(ws.watches) >= maxWatches {
		return 0, nil, rpctypes.ErrGRPCRequestTooManyRequests
	}
	for _, f := range r.Filters {
		w.NoPut = w.NoPut || f == pb.WatchCreateRequest_NOPUT
		w.NoDelete = w.NoDelete || f == pb.WatchCreateRequest_NODELETE
	}
	id, err := ws.events.Watch(w)
	return id, permission, err
}

// cancel ends a watch and answers, if there is one of that id. sending is held.
func (ws *stream) cancel(id int64) error { return ws.cancelFor(id, "") }

// cancelFor is cancel with a reason, if there is one to tell.
func (ws *stream) cancelFor(id int64, reason string) error {
	if _, ok := ws.watches[id]; !ok {
		return nil
	}
	if err := ws.events.Cancel(id); err != nil && !errors.Is(err, kv.ErrWatchNotFound) {
		return err
	}
	delete(ws.watches, id)
	return ws.grpc.Send(&pb.WatchResponse{Header: ws.store.Header(), WatchId: id, Canceled: true, CancelReason: reason})
}

// replace takes the watches over to the store that has replaced the one of ended.
func (ws *stream) replace(ended *kv.WatchStream) error {
	events, err := ws.store.ResumeWatchStream(ws.ctx, ended)
	if err != nil {
		return err
	}
	ws.sending.Lock()
	defer ws.sending.Unlock()
	ws.events = events
	close(ws.replaced)
	ws.replaced = make(chan struct{})
	return nil
}
