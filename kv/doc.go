// Package kv is the replicated state machine of ctlplane: a multi-version key-value store with etcd's
// semantics on Pebble. It knows neither the network nor Raft, and it counts no time but where a clock is
// handed to it: a Store is changed only by Apply, which gives the same results and leaves the same
// contents on every member that applies the same entries.
//
// # Layout
//
// All of it lies in one Pebble database, in sections told apart by the first byte of the key:
//
//	k<key>\0 @ <descending revision>   a version of a key: its header and value, or a tombstone
//	r\0 @ <revision><sub>              the ordered history: kind and key of each change, and what
//	                                   the revisions so far have superseded; the changes of one entry
//	                                   share a record, under the last of them
//	l<lease>\0                         a granted lease
//	a<lease><key>\0                    a key that hangs on a lease
//	m<name>\0                          the state record, compaction progress, members
//
// What stands after the @ is the suffix in Pebble's sense (see Comparer): Pebble's bloom filters are on
// the part before it, so looking a key up costs one probe a table, whatever number of versions it has.
//
// # Durability
//
// The Raft log is the write-ahead log. Pebble runs without its own, and each Apply writes data, history
// and the applied index in one batch. Memory tables reach the disk in the order in which they were
// filled, so after a crash the database is in the state that it had after some earlier Apply, and the
// state record tells after which: the entries that follow have to be applied again, and those at or below
// it are skipped. FlushedIndex tells how far the disk is; the Raft log must be kept from there on.
//
// # Offline
//
// What works on a store that is not open reads and writes the layout itself, and so is part of this package: ImportEtcd and
// LiveImport make a store of an etcd's data, Adopt makes one the beginning of a new group, and Backup reads a copy. What of
// it needs no knowledge of the layout has packages of its own: etcdfile and bboltfile for etcd's file, bulkload for filling
// a database at once.
package kv
