package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is Raft's network transport, of which all pipelines of entries to followers can be closed at once.
// Raft waits at its end for the goroutine that fills a pipeline, and that one may be waiting for room in a
// pipeline which nobody empties any more: only closing it helps.
type transport struct {
	*raft.NetworkTransport

	mu     sync.Mutex
	open   map[*pipeline]struct{}
	closed bool
}

type pipeline struct {
	raft.AppendPipeline
	transport *transport
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	opened, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: opened, transport: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = opened.Close()
		return nil, raft.ErrTransportShutdown
	}
	t.open[p] = struct{}{}
	return p, nil
}

// Close closes the pipeline.
func (p *pipeline) Close() error {
	p.transport.mu.Lock()
	delete(p.transport.open, p)
	p.transport.mu.Unlock()
	return p.AppendPipeline.Close()
}

// closePipelines closes all pipelines, those that are yet to be opened included.
func (t *transport) closePipelines() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for p := range t.open {
		_ = p.AppendPipeline.Close()
	}
}
