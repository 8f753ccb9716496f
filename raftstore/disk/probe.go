package disk

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// keyProbe is what is written, beside the vote, to see whether the disk works.
var keyProbe = []byte("ctlplane/disk-works")

// Probe writes a little to see whether the disk works, which can't be known of one that has nothing to do. All who want
// to know share the write that is under way.
type Probe struct {
	stable raft.StableStore

	mu      sync.Mutex
	writing *probeWrite // nil: none is under way
	writes  sync.WaitGroup
}

type probeWrite struct {
	ended chan struct{}
	err   error // once it has
}

// NewProbe writes to the store that the vote is kept in.
func NewProbe(stable raft.StableStore) *Probe { return &Probe{stable: stable} }

// Works returns nil once the disk has taken a write, or what went wrong, which is ctx's end if the disk hangs.
func (p *Probe) Works(ctx context.Context) error {
	write := p.begin()
	select {
	case <-write.ended:
		return write.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *Probe) begin() *probeWrite {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing != nil {
		return p.writing
	}
	write := &probeWrite{ended: make(chan struct{})}
	p.writing = write
	p.writes.Go(func() {
		write.err = p.stable.SetUint64(keyProbe, 1)
		p.mu.Lock()
		p.writing = nil
		p.mu.Unlock()
		close(write.ended)
	})
	return write
}

// Wait waits for the write that is under way. None may be begun any more.
func (p *Probe) Wait() { p.writes.Wait() }
