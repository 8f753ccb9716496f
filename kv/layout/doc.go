// Package layout is how a store lies in its database: the keys, the records, and their order.
//
// A store lies in one Pebble database, in sections told apart by the first byte of the key:
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
package layout
