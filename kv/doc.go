// Package kv is the replicated state machine of ctlplane: a multi-version key-value store with etcd's
// semantics on Pebble. It knows neither the network nor Raft, and it counts no time but where a clock is
// handed to it: a Store is changed only by Apply, which gives the same results and leaves the same
// contents on every member that applies the same entries.
//
// # Durability
//
// The Raft log is the write-ahead log. Pebble runs without its own, and each Apply writes data, history
// and the applied index in one batch. Memory tables reach the disk in the order in which they were
// filled, so after a crash the database is in the state that it had after some earlier Apply, and the
// state record tells after which: the entries that follow have to be applied again, and those at or below
// it are skipped. FlushedIndex tells how far the disk is; the Raft log must be kept from there on.
//
// # Rooms
//
// Package layout says how all of it lies in one Pebble database, offline has what works on a store that is not open, headercache
// what spares writes a read, etcdfile and bboltfile read etcd's file, and bulkload fills a database at once.
package kv
