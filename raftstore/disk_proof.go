package raftstore

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// keyProof is what is written, beside the vote, to see whether the disk works.
var keyProof = []byte("ctlplane/disk-works")

// diskProof writes a little to see whether the disk works, which can't be known of one that has nothing to do. All who want
// to know share the write that is under way.
type diskProof struct {
	stable raft.StableStore

	mu      sync.Mutex
	writing *proofWrite // nil: none is under way
	writes  sync.WaitGroup
}

type proofWrite struct {
	ended chan struct{}
	err   error // once it has
}

// works returns nil once the disk has taken a write, or what went wrong, which is ctx's end if the disk hangs.
func (p *diskProof) works(ctx context.Context) error {
	write := p.begin()
	select {
	case <-write.ended:
		return write.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *diskProof) begin() *proofWrite {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing != nil {
		return p.writing
	}
	write := &proofWrite{ended: make(chan struct{})}
	p.writing = write
	p.writes.Go(func() {
		write.err = p.stable.SetUint64(keyProof, 1)
		p.mu.Lock()
		p.writing = nil
		p.mu.Unlock()
		close(write.ended)
	})
	return write
}

// wait waits for the write that is under way. None may be begun any more.
func (p *diskProof) wait() { p.writes.Wait() }
