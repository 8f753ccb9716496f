package propose

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/notify"
)

// Route is where commands are proposed now.
type Route struct {
	Leader raft.ServerID // empty: nowhere
	Term   uint64
	Here   bool
}

// Machine is what applies the entries that are proposed here.
type Machine interface {
	// Expect is given the commands of an entry that is about to be proposed, which spares decoding them. Forget drops them.
	Expect(entry []byte, commands []kv.Command)
	Forget(entry []byte)
}

// Options are what a proposer needs, all of it.
type Options struct {
	// MaxEntryBytes bounds the commands that share an entry, MaxInFlight the entries that are proposed before the first is
	// applied.
	MaxEntryBytes, MaxInFlight int
	// MaxQueuedBytes and MaxQueued bound what waits to be proposed.
	MaxQueuedBytes, MaxQueued int

	Now func() time.Time
	// Rules are those of the entries that are proposed here.
	Rules func() kv.Rules
	// Route tells the leader, and Changed when to ask again.
	Route   func() Route
	Changed *notify.Signal
	// Apply proposes an entry here, and Machine applies it.
	Apply   func(entry []byte) raft.ApplyFuture
	Machine Machine
	// Answered is told of what the leader has applied, before anybody else is: the entry, and the revision that it tells.
	Answered func(index uint64, revision int64)
	// Dial opens a stream to the leader.
	Dial func(context.Context, raft.ServerID) (Stream, error)
}
