package etcdv3

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"
)

// progressInterval is how often a watch that wants it is told how far it is when it has no events. Up to a
// tenth is added, so that clients that came together are not all told at once.
const progressInterval = 10 * time.Minute

// progressRequests are what makes the sending goroutine stop waiting for events and report how far it is.
//
// Invariant: wake, when it is not nil, ends the wait for events that is under way or about to begin.
type progressRequests struct {
	mu    sync.Mutex
	asked bool // by a request: answered for all watches together
	due   bool // by time: answered for each watch that wants it
	wake  context.CancelFunc
}

// waitContext is the context to wait for events in. It has ended already when a report is asked for.
func (p *progressRequests) waitContext(parent context.Context) (ctx context.Context, release context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, p.wake = context.WithCancel(parent)
	return ctx, p.wake
}

func (p *progressRequests) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	p.wakeUp()
}

func (p *progressRequests) becomeDue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = true
	p.wakeUp()
}

func (p *progressRequests) wakeUp() {
	if p.wake != nil {
		p.wake()
	}
}

// pending tells what is to be reported.
func (p *progressRequests) pending() (asked, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.due
}

// done notes that what was asked for has been reported.
func (p *progressRequests) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.due = false, false
}

// remind makes a report due every progressInterval until ctx ends.
func (p *progressRequests) remind(ctx context.Context, c clock.WithTicker) {
	tick := c.NewTicker(progressInterval + time.Duration(rand.Int64N(int64(progressInterval/10))))
	defer tick.Stop()
	for {
		select {
		case <-tick.C():
			p.becomeDue()
		case <-ctx.Done():
			return
		}
	}
}

// report sends what progress was asked for. While some watch of the stream is still catching up there is none to report:
// the request stays, and is looked at again after the next events.
func (ws *watchStream) report() error {
	asked, due := ws.progress.pending()
	if !asked && !due {
		return nil
	}
	// Held from here on: no watch may come in between that starts before the revision that is reported.
	ws.sending.Lock()
	defer ws.sending.Unlock()
	revision, synced := ws.events.Progress()
	if !synced {
		return nil
	}
	ws.progress.done()
	header := ws.store.Header()
	header.Revision = revision
	if asked {
		if err := ws.grpc.Send(&pb.WatchResponse{Header: header, WatchId: noWatch}); err != nil {
			return err
		}
	}
	if !due {
		return nil
	}
	for id, w := range ws.watches {
		if w.progressNotify && w.quiet {
			if err := ws.grpc.Send(&pb.WatchResponse{Header: header, WatchId: id}); err != nil {
				return err
			}
		}
		w.quiet = true
	}
	return nil
}
