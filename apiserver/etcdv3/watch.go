package etcdv3

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/kv"
)

// noWatch is the id of answers that belong to no watch, or to all of the stream.
const noWatch = -1

// watchServer is etcd's Watch service.
type watchServer struct {
	pb.UnimplementedWatchServer
	store Watches
	log   *slog.Logger
	clock clock.WithTicker
}

// watchStream is one client's stream of watches: one goroutine takes requests, another one sends events.
//
//  1. Only who holds sending sends. A watch is started, and its creation answered, under one hold of it, and so is
//     its end: no event of a watch is sent before its creation was, or after its end was.
//  2. watches are those that were created and not ended; events of others, that were on the way, are dropped.
//  3. Only the sending goroutine takes events from the store and asks how far the stream is, so that when it sends
//     progress every event up to there has been sent.
type watchStream struct {
	grpc   pb.Watch_WatchServer
	events *kv.WatchStream
	store  Watches
	log    *slog.Logger

	sending sync.Mutex
	watches map[int64]*watchState

	progress progressRequests
}

// watchState is what the stream knows of a watch.
type watchState struct {
	fragment       bool // events larger than a message may come in several
	progressNotify bool // wants to know of progress when there are no events
	quiet          bool // no events since the last report of progress
}

// Watch serves a stream until the client ends it, or it breaks.
func (s *watchServer) Watch(stream pb.Watch_WatchServer) error {
	ws := &watchStream{
		grpc: stream, events: s.store.NewWatchStream(), store: s.store, log: s.log,
		watches: map[int64]*watchState{},
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer ws.events.Close()
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := ws.send(ctx, s.clock); err != nil {
			cancel(err)
		}
	})
	err := ws.take(ctx)
	cancel(nil)
	sender.Wait()
	return err
}

// take handles requests until the stream ends.
func (ws *watchStream) take(ctx context.Context) error {
	requests := receive(ctx, ws.grpc.Recv)
	for {
		select {
		case req := <-requests:
			if errors.Is(req.err, io.EOF) { // no more requests, but events still
				requests = nil
				continue
			}
			if req.err == nil {
				req.err = ws.handle(req.request)
			}
			if req.err != nil {
				return ws.end(ctx, req.err)
			}
		case <-ctx.Done():
			return ws.end(ctx, ctx.Err())
		}
	}
}

// end is the error of the stream, which etcd's clients take for a reason to open another, or to give up.
func (ws *watchStream) end(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return toStatus(err)
}

func (ws *watchStream) handle(req *pb.WatchRequest) error {
	switch r := req.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if r.CreateRequest != nil {
			return ws.create(r.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		if r.CancelRequest != nil {
			return ws.cancel(r.CancelRequest.WatchId)
		}
	case *pb.WatchRequest_ProgressRequest:
		ws.progress.ask()
	}
	return nil // an unknown request is of a later version: it gets no answer, as in etcd
}

func (ws *watchStream) create(r *pb.WatchCreateRequest) error {
	ws.sending.Lock()
	defer ws.sending.Unlock()
	// Taken before the watch is there: a client that comes back asks from this revision on, and may rather get an event
	// twice than miss it.
	resp := &pb.WatchResponse{Header: ws.store.Header(), Created: true}
	id, err := ws.start(r)
	if err != nil {
		resp.WatchId, resp.Canceled, resp.CancelReason = noWatch, true, watchRefusal(err)
		return ws.grpc.Send(resp)
	}
	ws.watches[id] = &watchState{fragment: r.Fragment, progressNotify: r.ProgressNotify, quiet: true}
	resp.WatchId = id
	return ws.grpc.Send(resp)
}

// start opens the watch that r asks for.
func (ws *watchStream) start(r *pb.WatchCreateRequest) (int64, error) {
	if r.StartRevision < 0 {
		return 0, kv.ErrCompacted
	}
	w := kv.WatchRequest{ID: r.WatchId, Key: r.Key, RangeEnd: r.RangeEnd, StartRevision: r.StartRevision, PrevKV: r.PrevKv}
	if len(w.Key) == 0 {
		w.Key = []byte{0} // the smallest key
	}
	for _, f := range r.Filters {
		w.NoPut = w.NoPut || f == pb.WatchCreateRequest_NOPUT
		w.NoDelete = w.NoDelete || f == pb.WatchCreateRequest_NODELETE
	}
	return ws.events.Watch(w)
}

func (ws *watchStream) cancel(id int64) error {
	ws.sending.Lock()
	defer ws.sending.Unlock()
	if _, ok := ws.watches[id]; !ok {
		return nil
	}
	delete(ws.watches, id)
	if err := ws.events.Cancel(id); err != nil && !errors.Is(err, kv.ErrWatchNotFound) {
		return err
	}
	return ws.grpc.Send(&pb.WatchResponse{Header: ws.store.Header(), WatchId: id, Canceled: true})
}
