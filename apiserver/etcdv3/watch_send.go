package etcdv3

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/kv"
)

// send passes events on until ctx ends or the stream breaks.
func (ws *watchStream) send(ctx context.Context, c clock.WithTicker) error {
	reminders, stopReminders := context.WithCancel(ctx)
	var reminder sync.WaitGroup
	reminder.Go(func() { ws.progress.remind(reminders, c) })
	defer reminder.Wait()
	defer stopReminders()

	wait, release := ws.progress.waitContext(ctx)
	defer func() { release() }()
	for {
		events, err := ws.events.Next(wait)
		switch {
		case err == nil:
			err = ws.sendEvents(events)
		case ctx.Err() == nil && wait.Err() != nil && errors.Is(err, context.Canceled): // woken up to report
			release()
			wait, release = ws.progress.waitContext(ctx)
			err = nil
		}
		if err == nil {
			err = ws.report()
		}
		if err != nil {
			return err
		}
	}
}

// sendEvents sends one watch's events, or that the history it asked for is gone.
func (ws *watchStream) sendEvents(e kv.WatchEvents) error {
	ws.sending.Lock()
	defer ws.sending.Unlock()
	w, ok := ws.watches[e.WatchID]
	if !ok {
		return nil
	}
	header := ws.store.Header()
	if e.Revision != 0 {
		header.Revision = e.Revision // as far as this watch has come
	}
	resp := &pb.WatchResponse{Header: header, WatchId: e.WatchID, Events: e.Events}
	if e.CompactRevision != 0 {
		delete(ws.watches, e.WatchID)
		resp.Canceled, resp.CompactRevision = true, e.CompactRevision
	}
	w.quiet = false
	if w.fragment && proto.Size(resp) > DefaultMaxRequestBytes {
		return ws.sendFragments(resp)
	}
	return ws.grpc.Send(resp)
}

// sendFragments sends resp in messages of at most DefaultMaxRequestBytes, as far as single events allow.
func (ws *watchStream) sendFragments(resp *pb.WatchResponse) error {
	for rest := resp.Events; len(rest) > 0; {
		n := fragmentLen(rest)
		part := &pb.WatchResponse{Header: resp.Header, WatchId: resp.WatchId, Events: rest[:n], Fragment: n < len(rest)}
		if err := ws.grpc.Send(part); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// fragmentLen is how many of events go into one message.
func fragmentLen(events []*mvccpb.Event) int {
	const perEvent, perMessage = 8, 128 // what surrounds an event, and a message's events
	size := perMessage
	for i, e := range events {
		size += proto.Size(e) + perEvent
		if i > 0 && size > DefaultMaxRequestBytes {
			return i
		}
	}
	return len(events)
}
