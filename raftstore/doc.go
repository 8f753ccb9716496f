// Package raftstore replicates kv's state machine: one Member is one server of a Raft group.
//
// # How a write goes
//
// A Member gathers the commands that wait while the last entries are in flight, packs them into one Raft
// entry, and hands each its own result (package propose). On a follower the same gathering ends in one
// message to the leader. The Raft log is the write-ahead log: it is synced before a write is
// acknowledged, the state machine is not.
//
// # How a read goes
//
// Any member serves reads from its own state, once that has reached an index which the leader, having
// proved that it is the leader, named (package readindex). Waiting readers share one round.
//
// # The rooms
//
// What needs no Member has a package of its own below this one, and none of them imports this one:
//
//	raftlog      the log on disk, its cache, and what a leader writes behind; wal is the log's own format
//	statemachine what applies the log to kv's store, and takes over another's state
//	snapshots    Raft's snapshots; archive is the form that they, and backups, travel in
//	peers        the port, Raft's stream and transport, and what members ask each other
//	propose      groups of commands, proposed here or forwarded; entry is what an entry looks like
//	readindex    rounds of readers, and the proof that this member leads
//	keepalive    renewals of leases, taken to the leader
//	membership   ids, majorities, records and URLs of members
//	disk         room, the reserve, and whether the disk works
//	failure      the errors of requests, and their way between members
//	notify       the signal that wakes who waits
//
// # What lies where
//
//	<data-dir>/member.json    who this member is, and of which cluster
//	<data-dir>/LOCK           held while a process has the directory open
//	<data-dir>/raft/          log, term and vote
//	<data-dir>/kv/            the state machine's database
//	<data-dir>/snapshots/     how far the log may be cut, and snapshots that are being received
//	<data-dir>/pki/           certificates and keys (see Bootstrap)
//
// # Who talks to whom
//
// One port serves Raft, gRPC and the join handshake, told apart by TLS's protocol negotiation
// (package peers). All but the last need a certificate of the group's own authority for O=ctlplane:peers.
package raftstore
