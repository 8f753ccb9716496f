package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/raftstore/keepalive"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
	"github.com/ctlplane/ctlplane/raftstore/propose"
	"github.com/ctlplane/ctlplane/raftstore/raftlog"
	"github.com/ctlplane/ctlplane/raftstore/readindex"
	"github.com/ctlplane/ctlplane/raftstore/snapshots"
	"github.com/ctlplane/ctlplane/raftstore/statemachine"
	"github.com/ctlplane/ctlplane/supervise"
)

// Open starts a member on its data directory, made when missing. It returns before the group has a leader.
func Open(config Config) (_ *Member, err error) {
	config.setDefaults()
	m := &Member{config: config, logger: config.Logger, instruments: newInstruments()}
	m.life, m.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			m.end()
			m.wg.Wait()
			err = errors.Join(err, m.unwind())
		}
	}()
	if config.lock != nil {
		m.onUnwind(config.lock.Close)
	}
	if config.Listener != nil {
		m.onUnwind(func() error { _ = config.Listener.Close(); return nil })
	}
	if err := config.validate(); err != nil {
		return nil, err
	}
	logger := newRaftLogger(config.Logger)
	for _, open := range []func() error{
		m.openDirectory,
		m.openState,
		m.openLog,
		func() error { return m.openNetwork(logger) },
		func() error { return m.openRaft(logger) },
	} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	m.run()
	return m, nil
}

func (m *Member) onUnwind(undo func() error) { m.undo = append(m.undo, undo) }

func (m *Member) unwind() error {
	var err error
	for i := len(m.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, m.undo[i]())
	}
	m.undo = nil
	return err
}

func (m *Member) openDirectory() error {
	if m.config.lock == nil {
		lock, err := lockDir(m.config.DataDir)
		if err != nil {
			return err
		}
		m.onUnwind(lock.Close)
	}
	if err := m.config.Identity.claim(m.config.DataDir); err != nil {
		return err
	}
	return m.openDisk()
}

// openDisk begins to look after the disk. The state and the log are bounded by its size.
func (m *Member) openDisk() (err error) {
	dirs := []string{m.config.DataDir}
	if m.config.LogDir != "" {
		if err := durable.MakeDir(m.config.LogDir); err != nil {
			return err
		}
		dirs = append(dirs, m.config.LogDir)
	}
	if m.disk, err = disk.New(m.life, disk.Options{Dirs: dirs, Space: m.config.DiskSpace, Clock: m.config.Clock, Logger: m.logger}); err != nil {
		return err
	}
	m.overQuota = make(chan int64, 1)
	m.config.SnapshotBytes = min(m.config.SnapshotBytes, m.disk.Marks.Log)
	return nil
}

func (m *Member) openState() error {
	// The snapshot store asks for checkpoints only once Raft runs, when there is a machine.
	saved, err := snapshots.Open(m.config.DataDir, snapshots.Options{
		Checkpoint: func(dir string) error { return m.machine.Checkpoint(dir) },
		OnSaved:    m.instruments.saved, OnReceived: m.instruments.stateReceived,
	})
	if err != nil {
		return err
	}
	m.snapshots = saved
	options := m.config.Store
	options.Dir = filepath.Join(m.config.DataDir, stateDir)
	options.Logger, options.UnsafeNoSync = m.logger, m.config.UnsafeNoSync
	options.OnLeaseGrant, options.OnCompacted = m.instruments.leaseGranted, m.instruments.compacted
	m.disk.Bound(&options)
	m.machine, err = statemachine.Open(statemachine.Options{
		Store: options, Snapshots: saved, Logger: m.logger,
		SlowApply: m.config.SlowApply, Now: m.config.Clock.Now,
		OnCommands: m.instruments.carriedOut, OnApply: m.instruments.applied, OnApplied: func() { m.commits.Advanced() }, OnReplace: m.instruments.replacingState,
	})
	if err != nil {
		return err
	}
	m.onUnwind(m.machine.Close)
	return m.disk.Opened(m.machine.Store())
}

func (m *Member) openLog() error {
	dir, err := m.openLogDir()
	if err != nil {
		return err
	}
	m.disk.ClaimStable(raftlog.StablePath(dir))
	stores, err := raftlog.Open(dir, m.logOptions())
	if err != nil {
		return err
	}
	m.stores = stores
	m.onUnwind(stores.Close)
	if m.heartbeats, err = peers.NewHeartbeats(stores.Stable); err != nil {
		return err
	}
	m.stable = m.heartbeats.GuardTerms(m.disk.PatientStable(stores.Stable, &m.votes))
	m.probe = disk.NewProbe(m.stable)
	m.onUnwind(func() error { m.probe.Wait(); return nil })
	return m.checkLog()
}

// logOptions are those of the member's log. A log that has failed needs a restart.
func (m *Member) logOptions() raftlog.Options {
	c := m.config
	return raftlog.Options{
		Kind: c.LogStore, NoSync: c.UnsafeNoSync, CacheBytes: c.LogCacheBytes, SegmentBytes: m.disk.Marks.Segment, CutBytes: c.SnapshotBytes,
		Wrap: func(store raft.LogStore) raft.LogStore {
			store = m.disk.PatientLog(store)
			if c.wrapLog != nil {
				store = c.wrapLog(store)
			}
			return store
		},
		Logger: c.Logger, OnSync: m.instruments.synced, OnWrite: m.instruments.wrote, OnFailed: m.machine.Fail,
	}
}

func (m *Member) openNetwork(logger hclog.Logger) error {
	join := m.config.Join
	if join == nil {
		join = func(conn *tls.Conn) { _ = conn.Close() }
	}
	m.listener = peers.NewListener(m.config.Listener, m.config.PeerSecurity.Server, join, m.logger)
	m.onUnwind(func() error { m.listener.Close(); return nil })
	m.stream = peers.NewStream(peers.StreamOptions{
		Listener: m.listener.Raft(), Advertised: m.config.Identity.PeerAddress, TLS: m.config.PeerSecurity.Client(pki.ProtocolRaft),
		From: m.config.CallFrom, Control: m.config.dialControl, DialTimeout: m.config.HeartbeatTimeout, BytesOf: m.bytesOf,
	})
	var network peers.Network = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  m.stream,
		MaxPool: peers.ConnsPerMember,
		Timeout: 10 * time.Second,
		Logger:  logger,

		MsgpackUseNewTimeFormat: true,
	})
	if m.config.wrapNetwork != nil {
		network = m.config.wrapNetwork(network)
	}
	m.proof = readindex.NewProof(m.life, membership.ServerID(m.config.Identity.MemberID), m.voterServers, m.beat)
	m.commits = peers.NewCommits(m.life, m.tellCommit)
	m.transport = peers.NewTransport(peers.TransportOptions{
		Network: network, Log: m.stores.Log, Lead: m.proof, Commits: m.commits, Heartbeats: m.heartbeats, Sends: m.sendsTo,
		Hangs:       func() bool { return slices.Contains(m.hanging(), disk.WorkLog) },
		OnHeartbeat: m.instruments.heartbeat, OnFailure: m.instruments.sendFailed,
	})
	m.onUnwind(m.transport.Close)
	m.peers = peers.NewConns(m.config.PeerSecurity, m.config.CallFrom, m.addressOf)
	m.onUnwind(func() error { m.peers.Close(); return nil })
	return nil
}

func (m *Member) openRaft(logger hclog.Logger) error {
	config := m.raftConfig(logger)
	if m.config.Identity.Creator {
		if err := m.createGroup(config); err != nil {
			return err
		}
	}
	if err := dropRestoreNote(m.config.DataDir); err != nil {
		return err
	}
	if m.config.ForceNewCluster {
		if err := m.forceNewCluster(); err != nil {
			return fmt.Errorf("force a new cluster: %w", err)
		}
	}
	m.proposer = propose.New(propose.Options{
		MaxEntryBytes: m.config.MaxEntryBytes, MaxInFlight: m.config.MaxInFlight,
		MaxQueuedBytes: m.config.MaxQueuedBytes, MaxQueued: m.config.MaxQueued,
		Now: m.config.Clock.Now, Rules: m.rules, Route: m.route, Changed: &m.changed,
		Apply:   func(entry []byte) raft.ApplyFuture { return m.raft.Apply(entry, 0) },
		Machine: m.machine, Answered: m.answered.note, Dial: m.peers.Forward,
	})
	m.leaderRounds = readindex.NewRounds(m.life, m.provenIndex, m.instruments.readRound)
	m.followerRounds = readindex.NewRounds(m.life, m.askLeader, m.instruments.readRound)
	m.points = readindex.NewPoints(readindex.PointsOptions{
		Life: m.life, Logger: m.config.Logger, Timeout: m.config.RequestTimeout,
		Ask: m.readIndex, Reach: m.reach, LookUp: m.lookUp,
	})

	newest, err := m.snapshots.Newest()
	if err == nil && newest != nil {
		err = raftlog.DropBefore(m.stores.Log, newest.Index)
	}
	if err != nil {
		return err
	}
	m.raft, err = raft.NewRaft(config, m.machine, m.stores.Log, m.stable, m.snapshots, m.transport)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	m.transport.Start()
	m.stores.Log.Serve(m.logRole())
	m.onUnwind(func() error {
		down := m.raft.Shutdown()
		m.transport.ClosePipelines()
		m.stream.CloseConns() // what Raft is waiting for at members that don't answer
		err := down.Error()
		m.heartbeats.Close() // before the stores are
		m.transport.Wait()
		m.proof.Wait()
		m.commits.Wait()
		return err
	})
	if m.machine.Store().MemberRemoved(m.config.Identity.MemberID) {
		return ErrRemoved
	}
	return nil
}

// logRole tells the log whether it may write behind Raft's back. Raft's state and configuration are changed
// by the goroutine that also stores entries.
func (m *Member) logRole() raftlog.Role {
	return raftlog.Role{
		Leads:       func() bool { return m.raft.State() == raft.Leader },
		NeedsOthers: func() bool { return m.voters() > 1 },
		Failed: func(err error) {
			m.logger.Error("the disk refused entries of the Raft log; this member gives up the lead unless it takes them now", "error", err)
			m.raft.Apply(entry.New(1), 0) // makes Raft store again, and step down if that fails too
		},
		Broken: func(err error) {
			m.machine.Fail(fmt.Errorf("the disk refused the entries that replace the end of the Raft log, which another leader has replaced; make room, and start this member again: %w", err))
		},
	}
}

// createGroup makes a group of this member alone, unless that was done before.
func (m *Member) createGroup(config *raft.Config) error {
	exists, err := raft.HasExistingState(m.stores.Log, m.stable, m.snapshots)
	if err != nil || exists {
		return err
	}
	from, err := loadRestoreNote(m.config.DataDir)
	if err != nil {
		return err
	}
	if (m.machine.Store().AppliedIndex() > 0) != (from != nil) {
		return fmt.Errorf("the data directory is damaged: %s has a state and no Raft log, or was restored and has none; delete it and join again, as a new member", m.config.DataDir)
	}
	alone := raft.Configuration{Servers: []raft.Server{m.self()}}
	if from != nil {
		return m.createRestoredGroup(alone)
	}
	if err := raft.BootstrapCluster(config, m.stores.Log, m.stable, m.snapshots, m.transport, alone); err != nil {
		return fmt.Errorf("create the group: %w", err)
	}
	return nil
}

func (m *Member) raftConfig(logger hclog.Logger) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = membership.ServerID(m.config.Identity.MemberID)
	config.Logger = logger
	config.HeartbeatTimeout = m.config.HeartbeatTimeout
	config.ElectionTimeout = m.config.HeartbeatTimeout
	config.PreVoteDisabled = m.config.NoPreVote
	config.LeaderLeaseTimeout = m.config.HeartbeatTimeout * 4 / 5
	// Followers learn of the last commit by it if a request to tell them was lost (see peers.Commits).
	config.CommitTimeout = max(m.config.HeartbeatTimeout/5, time.Millisecond)
	config.BatchApplyCh = true
	// Entries are groups of up to a megabyte each.
	config.MaxAppendEntries = 16
	// The state machine is durable by itself, and this package decides when the log is cut.
	config.NoSnapshotRestoreOnStart = true
	config.SnapshotInterval = 24 * time.Hour
	config.SnapshotThreshold = 1 << 62
	config.TrailingLogs = m.config.SnapshotEntries
	config.ShutdownOnRemove = false
	config.NoLegacyTelemetry = true
	return config
}

// run starts the goroutines. Nothing can fail from here on.
func (m *Member) run() {
	m.observed = make(chan raft.Observation, 16)
	m.observer = raft.NewObserver(m.observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	m.raft.RegisterObserver(m.observer)
	m.wg.Go(m.observe)
	m.wg.Go(m.lead)
	m.wg.Go(m.watchLeader)
	m.renewals = keepalive.NewRenewals(m.life, m.peers.Renew)
	m.wg.Go(func() {
		<-m.life.Done()
		m.renewals.Wait()
	})
	m.wg.Go(m.keepLogShort)
	m.wg.Go(m.watchDisk)
	m.wg.Go(m.watchStalls)
	m.wg.Go(m.watchRemoval)
	m.wg.Go(m.leaderRounds.Run)
	m.wg.Go(m.followerRounds.Run)
	m.wg.Go(m.points.Run)
	m.wg.Go(func() { m.upkeep(m.life, m.keepRecord) })
	m.wg.Go(func() { m.upkeep(m.life, m.autoCompact) })
	m.wg.Go(func() { m.upkeep(m.life, m.checkOwnHistory) })
	m.wg.Go(func() { m.upkeep(m.life, m.followAddress) })
	m.proposer.Start()
	m.server = grpc.NewServer(append(supervise.ServerOptions("peer", m.config.Logger),
		grpc.MaxRecvMsgSize(peers.MaxMessage), grpc.MaxSendMsgSize(peers.MaxMessage),
		grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(8<<20),
	)...)
	peerpb.RegisterPeerServer(m.server, &peerServer{member: m})
	peerpb.RegisterLeasesServer(m.server, &leaseServer{member: m})
	peerpb.RegisterLivenessServer(m.server, &livenessServer{member: m})
	m.onUnwind(func() error { m.server.Stop(); return nil })
	m.wg.Go(func() {
		// Serve ends when the listener, or the server, is closed.
		_ = m.server.Serve(m.listener.GRPC())
	})
}
