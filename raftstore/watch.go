package raftstore

import (
	"context"
	"errors"

	"github.com/ctlplane/ctlplane/kv"
)

// NewWatchStream makes a stream of watches on this member's state. It ends with kv.ErrClosed when the state
// is replaced by a snapshot from the leader: ResumeWatchStream then goes on where it was.
func (m *Member) NewWatchStream() *kv.WatchStream {
	return m.machine.Store().NewWatchStream()
}

// ResumeWatchStream returns a stream with the watches of one that has ended with kv.ErrClosed, each where it was. It
// waits for the state that replaces the old one, and fails if this member is closed instead, or ctx ends.
func (m *Member) ResumeWatchStream(ctx context.Context, ended *kv.WatchStream) (*kv.WatchStream, error) {
	for {
		replaced := m.machine.Replaced()
		stream := m.machine.Store().ResumeWatchStream(ended)
		if !errors.Is(stream.Err(), kv.ErrClosed) {
			return stream, nil
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-m.machine.Done():
			return nil, m.machine.Err()
		}
	}
}
