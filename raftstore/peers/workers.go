package peers

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// Workers has one goroutine for each other member that something is asked of, so that one which does not answer holds up nobody
// but itself. One goroutine at a time calls wake.
type Workers struct {
	life context.Context
	// work does what there is to do with a member, and returns when there is no more. ctx ends with the workers, or when the
	// member is no longer woken.
	work func(ctx context.Context, server raft.Server)

	workers map[raft.ServerID]*worker
	running sync.WaitGroup
}

type worker struct {
	server raft.Server
	asked  chan struct{} // has a token when there may be something to do
	stop   context.CancelFunc
}

// NewWorkers starts none yet.
func NewWorkers(life context.Context, work func(context.Context, raft.Server)) *Workers {
	return &Workers{life: life, work: work, workers: map[raft.ServerID]*worker{}}
}

// Wake has work done with the servers, and with no others any more.
func (c *Workers) Wake(servers []raft.Server) {
	for _, server := range servers {
		w := c.workers[server.ID]
		if w == nil || w.server.Address != server.Address {
			if w != nil {
				w.stop()
			}
			w = c.hire(server)
		}
		select {
		case w.asked <- struct{}{}:
		default:
		}
	}
	if len(c.workers) == len(servers) {
		return
	}
	for id, w := range c.workers {
		if !slices.ContainsFunc(servers, func(server raft.Server) bool { return server.ID == id }) {
			w.stop()
			delete(c.workers, id)
		}
	}
}

func (c *Workers) hire(server raft.Server) *worker {
	ctx, stop := context.WithCancel(c.life)
	w := &worker{server: server, asked: make(chan struct{}, 1), stop: stop}
	c.workers[server.ID] = w
	c.running.Go(func() {
		for {
			select {
			case <-w.asked:
				c.work(ctx, server)
			case <-ctx.Done():
				return
			}
		}
	})
	return w
}

// Wait waits for the goroutines, after life has ended.
func (c *Workers) Wait() { c.running.Wait() }
