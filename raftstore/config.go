package raftstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/peers"
	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// The log stores to choose from.
const (
	LogStoreWAL    = raftlog.WAL
	LogStoreBoltDB = raftlog.BoltDB
)

// Config says who a member is and how it works. Identity, directory, listener and certificates are
// required; the zero value of anything else means a default.
type Config struct {
	// Identity is who this member is. It must be what the data directory says, if that has been used.
	Identity Identity
	DataDir  string
	// Listener is the peer port. The member owns it from Open on, also when Open fails.
	Listener net.Listener
	// Source and CA are this member's certificate towards its peers, and the authority that theirs are of.
	Source *pki.Source
	CA     *pki.CA
	// PeerSecurity is how members prove to each other who they are; nil: by Source and CA.
	PeerSecurity *pki.PeerSecurity
	// Join serves connections that speak the join protocol. Nil refuses them.
	Join func(*tls.Conn)
	// Store configures the state machine; its directory and logger are set by Open.
	Store    kv.Options
	LogStore string
	// LogDir is where the Raft log is kept; by default in DataDir.
	LogDir string
	// UnsafeNoSync acknowledges writes that only the operating system has, in log, term and vote, and state machine. When a
	// machine ends, what its member acknowledged may be gone, its vote too: then acknowledged writes can be lost, and
	// members can differ.
	UnsafeNoSync bool
	Logger       *slog.Logger
	Clock        clock.WithTicker

	// HeartbeatTimeout is how long a follower waits for a leader that has gone silent before it starts an
	// election, at least; at most twice as long. It does not wait for one whose process has ended.
	HeartbeatTimeout time.Duration
	// HeartbeatInterval is how far apart a leader's heartbeats are, at most; 0: a tenth to a fifth of HeartbeatTimeout.
	HeartbeatInterval time.Duration
	// NoPreVote leaves out the question, before an election, whether it could be won.
	NoPreVote bool
	// RequestTimeout is how long a command waits for a leader.
	RequestTimeout time.Duration
	// MaxCommandBytes bounds one command, MaxEntryBytes the commands that share a Raft entry.
	MaxCommandBytes int
	MaxEntryBytes   int
	// MaxInFlight is how many entries are proposed before the first is applied.
	MaxInFlight int
	// MaxQueuedBytes and MaxQueued bound what waits to be proposed.
	MaxQueuedBytes int
	MaxQueued      int
	// SnapshotEntries and SnapshotBytes are how much the log grows before it is cut. For a cut the state's memory table is
	// written to the disk: the default takes one that is about to be full, so that there are not more and smaller tables.
	SnapshotEntries uint64
	SnapshotBytes   int64
	// SnapshotInterval is how often the number of entries is looked at.
	SnapshotInterval time.Duration
	// LogCacheBytes bounds the recent entries that are kept in memory for followers.
	LogCacheBytes int

	// QuotaBytes is how many live bytes (keys and values that can be read at the present revision) the store may
	// hold before it refuses to take more; 0 or less: as many as the disk has room for.
	QuotaBytes int64
	// MaxLearners bounds the members that were added as learners.
	MaxLearners int
	// LooseReconfig makes changes of the members that endanger the majority, which are refused otherwise.
	LooseReconfig bool
	// DiskSpace tells the free space of a directory; nil asks the system.
	DiskSpace func(dir string) (disk.Space, error)
	// AutoCompaction forgets history by itself.
	AutoCompaction AutoCompaction
	// CorruptCheckInterval is how often the leader compares the members' histories; 0: never.
	CorruptCheckInterval time.Duration
	// InitialCorruptCheck has the member compare its history with the others' at its start, and fail if it
	// is the one that differs.
	InitialCorruptCheck bool

	// CompactCheckInterval is how often the leader looks whether the history was compacted, and has the members' histories
	// compared if it was; 0: never.
	CompactCheckInterval time.Duration
	// SlowApply is how long a request may take the state before the log is told; below 0: as long as it likes.
	SlowApply time.Duration

	// CallFrom is the address of this machine that other members are called from, for certificates that are checked against
	// it; the zero one: the system chooses.
	CallFrom netip.Addr

	// ForceNewCluster makes this member the only one of its group, with the data that it has, when the majority is
	// lost for good. It is for one start.
	ForceNewCluster bool

	// wrapLog wraps Raft's log on disk, so that tests can make the disk slow or full.
	wrapLog func(raft.LogStore) raft.LogStore
	// wrapNetwork wraps Raft's network, so that tests can hold back what comes from them.
	wrapNetwork func(peers.Network) peers.Network
	// dialControl comes before every connection of Raft's to another member, and every look at its port, so that tests
	// can have links reject them.
	dialControl func(network, address string, _ syscall.RawConn) error
	// lock is held on the data directory already, by Bootstrap; Open takes it over.
	lock *os.File
}

func (c *Config) setDefaults() {
	setDefault(&c.LogStore, LogStoreWAL)
	setDefault(&c.HeartbeatTimeout, time.Second)
	setDefault(&c.RequestTimeout, 5*time.Second)
	setDefault(&c.MaxCommandBytes, 2<<20)
	setDefault(&c.MaxEntryBytes, 1<<20)
	setDefault(&c.MaxInFlight, 3)
	setDefault(&c.MaxQueuedBytes, 64<<20)
	setDefault(&c.MaxQueued, 100_000)
	setDefault(&c.SnapshotEntries, 16384)
	setDefault(&c.SnapshotBytes, 20<<20)
	setDefault(&c.SnapshotInterval, 5*time.Second)
	setDefault(&c.LogCacheBytes, 16<<20)
	setDefault(&c.MaxLearners, 1)
	setDefault(&c.SlowApply, 100*time.Millisecond)
	if c.DiskSpace == nil {
		c.DiskSpace = disk.SpaceOf
	}
	if c.PeerSecurity == nil && c.Source != nil && c.CA != nil {
		c.PeerSecurity = c.CA.Peers(c.Source)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) validate() error {
	switch {
	case c.Identity.MemberID == 0 || c.Identity.ClusterID == 0:
		return errors.New("raftstore: the member has no id, or no cluster")
	case c.DataDir == "":
		return errors.New("raftstore: no data directory")
	case c.Listener == nil:
		return errors.New("raftstore: no peer listener")
	case c.Source == nil || c.CA == nil:
		return errors.New("raftstore: no certificates")
	case CheckLogStore(c.LogStore) != nil:
		return CheckLogStore(c.LogStore)
	}
	if err := c.AutoCompaction.validate(); err != nil {
		return err
	}
	return pki.ValidateMemberName(c.Identity.Name)
}

// CheckLogStore tells whether there is a log store of a name.
func CheckLogStore(name string) error {
	if name != LogStoreWAL && name != LogStoreBoltDB {
		return fmt.Errorf("unknown log store %q: choose %q or %q", name, LogStoreWAL, LogStoreBoltDB)
	}
	return nil
}
