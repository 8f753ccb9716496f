package watch

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"
)

// How often a watch that wants it is told how far it is when it has no events: by default, and at most. Up to a
// tenth is added, so that clients that came together are not all told at once.
const (
	DefaultProgressInterval = 10 * time.Minute
	minProgressInterval     = 100 * time.Millisecond
)

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

// told notes that what was asked for has been reported, or that what was due has.
func (p *progressRequests) told(asked, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.due = p.asked && !asked, p.due && !due
}

// remind makes a report due every interval until ctx ends.
func (p *progressRequests) remind(ctx context.Context, c clock.WithTicker, interval time.Duration) {
	tick := c.NewTicker(interval + time.Duration(rand.Int64N(int64(interval/10))))
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

// report sends what progress was asked for, or is due.
func (ws *stream) report() error {
	asked, due := ws.progress.pending()
	if !asked && !due {
		return nil
	}
	// Held from here on: no watch may come in between that starts before the revision that is reported.
	ws.sending.Lock()
	defer ws.sending.Unlock()
	if asked {
		if err := ws.reportAll(); err != nil {
			return err
		}
	}
	if due {
		return ws.reportEach()
	}
	return nil
}

// reportAll tells how far all watches of the stream are. While some watch is still catching up, or is to begin at a
// revision yet to come, there is nothing to tell: the request stays, and is looked at again after the next events.
func (ws *stream) reportAll() error {
	if len(ws.watches) == 0 {
		ws.progress.told(true, false)
		return nil
	}
	revision, synced := ws.events.Progress()
	if !synced {
		return nil
	}
	for _, w := range ws.watches {
		if w.start > revision {
			return nil
		}
	}
	ws.progress.told(true, false)
	return ws.grpc.Send(&pb.WatchResponse{Header: ws.headerAt(revision), WatchId: noWatch})
}

// reportEach tells each watch that wants it, and has had no events for a while, how far it is.
func (ws *stream) reportEach() error {
	ws.progress.told(false, true)
	for id, w := range ws.watches {
		if w.progressNotify && w.quiet {
			revision, synced := ws.events.ProgressOf(id)
			if synced && w.start <= revision {
				if err := ws.grpc.Send(&pb.WatchResponse{Header: ws.headerAt(revision), WatchId: id}); err != nil {
					return err
				}
			}
		}
		w.quiet = true
	}
	return nil
}
