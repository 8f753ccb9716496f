package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/pki"
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

func (m *Member) openState() error {
	// The snapshot store asks for checkpoints only once Raft runs, when there is a machine.
	snapshots, err := openSnapshotStore(m.config.DataDir, func(dir string) error { return m.machine.checkpoint(dir) })
	if err != nil {
		return err
	}
	m.snapshots = snapshots
	snapshots.instruments = m.instruments
	options := m.config.Store
	options.Dir = filepath.Join(m.config.DataDir, stateDir)
	options.Logger, options.UnsafeNoSync = m.logger, m.config.UnsafeNoSync
	options.OnLeaseGrant, options.OnCompacted = m.instruments.leaseGranted, m.instruments.compacted
	m.disk.bound(&options)
	if m.machine, err = openStateMachine(options, snapshots, m.logger); err != nil {
		return err
	}
	m.machine.instruments = m.instruments
	m.machine.slow = slowApplies{limit: m.config.SlowApply, logger: m.logger, now: m.config.Clock.Now}
	m.machine.applied = func() { m.commits.advanced() }
	m.onUnwind(m.machine.close)
	return m.disk.opened(m.machine.store.Load())
}

func (m *Member) openLog() error {
	dir, err := m.openLogDir()
	if err != nil {
		return err
	}
	m.disk.claimStable(dir)
	stores, err := openLogStores(dir, &m.config, m.disk.marks.segment, m.instruments)
	if err != nil {
		return err
	}
	m.stores = stores
	m.onUnwind(stores.Close)
	stores.log.LogStore = patientLog{stores.log.LogStore, m.disk}
	if m.heartbeats, err = newHeartbeats(stores.stable); err != nil {
		return err
	}
	stores.stable = terms{patientStable{stores.stable, m.disk, &m.votes}, m.heartbeats}
	m.diskProof.stable = stores.stable
	m.onUnwind(func() error { m.diskProof.wait(); return nil })
	if m.config.wrapLog != nil {
		stores.log.LogStore = m.config.wrapLog(stores.log.LogStore)
	}
	return m.checkLog()
}

func (m *Member) openNetwork(logger hclog.Logger) error {
	join := m.config.Join
	if join == nil {
		join = func(conn *tls.Conn) { _ = conn.Close() }
	}
	m.listener = newPeerListener(m.config.Listener, m.config.PeerSecurity.Server, join, m.logger)
	m.onUnwind(func() error { m.listener.Close(); return nil })
	m.stream = newRaftStream(m.listener.raft, m.config.Identity.PeerAddress, m.config.PeerSecurity.Client(pki.ProtocolRaft))
	m.stream.bytesOf, m.stream.dialer = m.bytesOf, peerDialer(m.config.dialControl)
	m.stream.dialTimeout = connectTimeout + m.config.HeartbeatTimeout
	var network network = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  m.stream,
		MaxPool: 4,
		Timeout: 10 * time.Second,
		Logger:  logger,

		MsgpackUseNewTimeFormat: true,
	})
	if m.config.wrapNetwork != nil {
		network = m.config.wrapNetwork(network)
	}
	m.proof = newProof(m.life, serverID(m.config.Identity.MemberID), m.voterServers, m.beat)
	m.commits = newCommits(m.life, m.tellCommit)
	m.transport = newTransport(network, m.stores.log, m.proof, m.commits, m.heartbeats, newSilence(m.sendsTo))
	m.transport.instruments = m.instruments
	m.onUnwind(m.transport.Close)
	m.peers = newPeerConns(m.config.PeerSecurity, m.addressOf)
	m.onUnwind(func() error { m.peers.close(); return nil })
	return nil
}

func (m *Member) openRaft(logger hclog.Logger) error {
	config := m.raftConfig(logger)
	if m.config.Identity.Creator {
		if err := m.createGroup(config); err != nil {
			return err
		}
	}
	if err := forgetOrigin(m.config.DataDir); err != nil {
		return err
	}
	if m.config.ForceNewCluster {
		if err := m.forceNewCluster(); err != nil {
			return fmt.Errorf("force a new cluster: %w", err)
		}
	}
	m.proposer = newProposer(&m.config)
	m.proposer.machine = m.machine
	m.proposer.rules, m.proposer.route, m.proposer.changed = m.rules, m.route, &m.changed
	m.proposer.apply = func(entry []byte) raft.ApplyFuture { return m.raft.Apply(entry, 0) }
	m.proposer.answered, m.proposer.dial = &m.answered, m.peers.forward
	m.leaderRounds, m.followerRounds = newReadRounds(m.life, m.provenIndex), newReadRounds(m.life, m.askLeader)
	m.leaderRounds.observe, m.followerRounds.observe = m.instruments.readRound, m.instruments.readRound

	newest, err := m.snapshots.newest()
	if err == nil && newest != nil {
		err = dropLogBefore(m.stores.log, newest.Index)
	}
	if err != nil {
		return err
	}
	m.raft, err = raft.NewRaft(config, m.machine, m.stores.log, m.stores.stable, m.snapshots, m.transport)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	m.transport.relaying.Go(m.transport.relay)
	m.stores.log.serve(m.logRole())
	m.onUnwind(func() error {
		down := m.raft.Shutdown()
		m.transport.closePipelines()
		m.stream.closeConns() // what Raft is waiting for at members that don't answer
		err := down.Error()
		m.heartbeats.close() // before the stores are
		m.transport.relaying.Wait()
		m.proof.crew.wait()
		m.commits.crew.wait()
		return err
	})
	if m.machine.store.Load().MemberRemoved(m.config.Identity.MemberID) {
		return ErrRemoved
	}
	return nil
}

// logRole tells the log whether it may write behind Raft's back. Raft's state and configuration are changed
// by the goroutine that also stores entries.
func (m *Member) logRole() logRole {
	return logRole{
		leads:       func() bool { return m.raft.State() == raft.Leader },
		needsOthers: func() bool { return m.voters() > 1 },
		failed: func(err error) {
			m.logger.Error("the disk refused entries of the Raft log; this member gives up the lead unless it takes them now", "error", err)
			m.raft.Apply(newEntry(1), 0) // makes Raft store again, and step down if that fails too
		},
	}
}

// createGroup makes a group of this member alone, unless that was done before.
func (m *Member) createGroup(config *raft.Config) error {
	exists, err := raft.HasExistingState(m.stores.log, m.stores.stable, m.snapshots)
	if err != nil || exists {
		return err
	}
	from, err := loadOrigin(m.config.DataDir)
	if err != nil {
		return err
	}
	if (m.machine.store.Load().AppliedIndex() > 0) != (from != nil) {
		return fmt.Errorf("the data directory is damaged: %s has a state and no Raft log, or was restored and has none; delete it and join again, as a new member", m.config.DataDir)
	}
	alone := raft.Configuration{Servers: []raft.Server{m.self()}}
	if from != nil {
		return m.createRestoredGroup(alone)
	}
	if err := raft.BootstrapCluster(config, m.stores.log, m.stores.stable, m.snapshots, m.transport, alone); err != nil {
		return fmt.Errorf("create the group: %w", err)
	}
	return nil
}

func (m *Member) raftConfig(logger hclog.Logger) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = serverID(m.config.Identity.MemberID)
	config.Logger = logger
	config.HeartbeatTimeout = m.config.HeartbeatTimeout
	config.ElectionTimeout = m.config.HeartbeatTimeout
	config.PreVoteDisabled = m.config.NoPreVote
	config.LeaderLeaseTimeout = m.config.HeartbeatTimeout * 4 / 5
	// Followers learn of the last commit by it if a request to tell them was lost (see commits).
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
	m.renewals = newRenewals(m.life, m.peers.renew)
	m.wg.Go(func() {
		<-m.life.Done()
		m.renewals.wait()
	})
	m.wg.Go(m.cutLog)
	m.wg.Go(m.watchDisk)
	m.wg.Go(m.watchStalls)
	m.wg.Go(m.watchRemoval)
	m.wg.Go(m.leaderRounds.run)
	m.wg.Go(m.followerRounds.run)
	m.wg.Go(func() { m.upkeep(m.life, m.keepRecord) })
	m.wg.Go(func() { m.upkeep(m.life, m.autoCompact) })
	m.wg.Go(func() { m.upkeep(m.life, m.checkOwnHistory) })
	m.wg.Go(func() { m.upkeep(m.life, m.followAddress) })
	m.proposer.start()
	m.server = grpc.NewServer(append(supervise.ServerOptions("peer", m.config.Logger),
		grpc.MaxRecvMsgSize(maxPeerMessage), grpc.MaxSendMsgSize(maxPeerMessage),
		grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(8<<20),
	)...)
	peerpb.RegisterPeerServer(m.server, &peerServer{member: m})
	peerpb.RegisterLeasesServer(m.server, &leaseServer{member: m})
	peerpb.RegisterLivenessServer(m.server, &livenessServer{member: m})
	m.onUnwind(func() error { m.server.Stop(); return nil })
	m.wg.Go(func() {
		// Serve ends when the listener, or the server, is closed.
		_ = m.server.Serve(m.listener.grpc)
	})
}
