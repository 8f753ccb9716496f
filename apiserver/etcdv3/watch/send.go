package watch

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/supervise"
)

// send passes events on until the stream ends or breaks.
func (ws *stream) send() error {
	reminders, stopReminders := context.WithCancel(ws.ctx)
	var reminder sync.WaitGroup
	reminder.Go(func() {
		supervise.Again(reminders, "grpc", ws.log, func() { ws.progress.remind(reminders, ws.clock, ws.progressInterval) })
	})
	defer reminder.Wait()
	defer stopReminders()

	wait, release := ws.progress.waitContext(ws.ctx)
	defer func() { release() }()
	for {
		events, err := ws.events.NextEncoded(wait)
		switch {
		case err == nil:
			err = ws.sendEvents(events)
		case errors.Is(err, kv.ErrClosed):
			err = ws.replace(ws.events)
		case ws.ctx.Err() == nil && wait.Err() != nil && errors.Is(err, context.Canceled): // woken up to report
			release()
			wait, release = ws.progress.waitContext(ws.ctx)
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
func (ws *stream) sendEvents(e kv.EncodedEvents) error {
	ws.sending.Lock()
	defer ws.sending.Unlock()
	w, ok := ws.watches[e.WatchID]
	if !ok {
		ws.message.forget()
		return nil
	}
	if err := w.permission.Check(); err != nil {
		ws.message.forget()
		return ws.cancelFor(e.WatchID, refusal(err))
	}
	if e.CompactRevision != 0 {
		delete(ws.watches, e.WatchID)
		return ws.grpc.Send(&pb.WatchResponse{
			Header: ws.headerAt(e.Revision), WatchId: e.WatchID, Canceled: true, CompactRevision: e.CompactRevision,
		})
	}
	w.quiet = false
	if w.fragment {
		if n := ws.fragmentLen(e.Events); n < len(e.Events) {
			return ws.sendFragments(w, e)
		}
	}
	if broken.Sometimes(broken.SplitRevision) && len(e.Events) > 1 {
		ws.message.set(ws.headerAt(e.Revision), false, e.Events[:1])
		ws.message.sameFor(w.id)
		if err := ws.grpc.SendMsg(&ws.message); err != nil {
			return err
		}
		ws.message.forget()
		e.Events, e.Repeated = e.Events[1:], false
	}
	if !e.Repeated || !ws.message.holds(e.Revision) {
		ws.message.set(ws.headerAt(e.Revision), false, e.Events)
	}
	ws.message.sameFor(w.id)
	defer ws.message.sent()
	return ws.grpc.SendMsg(&ws.message)
}

// headerAt is the header of a response to a watch that has come as far as revision.
func (ws *stream) headerAt(revision int64) *pb.ResponseHeader {
	header := ws.store.Header()
	header.Revision = revision
	return header
}

// sendFragments sends events in messages of at most fragmentBytes, as far as single events allow. All but the last are
// marked, and nothing may come in between: etcd's client puts together what follows each other on the stream.
func (ws *stream) sendFragments(w *watchState, e kv.EncodedEvents) error {
	header := ws.headerAt(e.Revision)
	for rest := e.Events; len(rest) > 0; {
		n := ws.fragmentLen(rest)
		ws.message.set(header, n < len(rest), rest[:n])
		ws.message.sameFor(w.id)
		if err := ws.grpc.SendMsg(&ws.message); err != nil {
			return err
		}
		rest = rest[n:]
	}
	ws.message.forget() // it is that of the last part
	return nil
}

// fragmentLen is how many of events go into one message.
func (ws *stream) fragmentLen(events [][]byte) int {
	const perMessage = 64 // what surrounds events
	size := perMessage
	for i, e := range events {
		size += len(e)
		if i > 0 && size > ws.fragmentBytes {
			return i
		}
	}
	return len(events)
}
