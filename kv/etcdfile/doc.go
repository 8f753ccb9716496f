// Package etcdfile reads and writes etcd's own database file, the one in member/snap/db and in snapshots: which
// of its buckets holds what, and how. Reading trusts nothing (see bboltfile); writing is bbolt's own.
//
//	key             <revision>_<sub>[t] → KeyValue; with t the key was deleted
//	lease           <id> → Lease
//	auth            authEnabled, authRevision
//	authUsers       <name> → User
//	authRoles       <name> → Role
//	alarm           AlarmMember → nothing
//	members         <id in hex> → the member in JSON; removed ones in members_removed
//	cluster         clusterVersion, downgrade
//	meta            consistent_index, term, confState, storageVersion,
//	                scheduledCompactRev, finishedCompactRev
//
// A snapshot is such a file with its SHA-256 behind it; one copied out of a data directory has none.
package etcdfile

import (
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The buckets.
const (
	bucketKey            = "key"
	bucketMeta           = "meta"
	bucketLease          = "lease"
	bucketAlarm          = "alarm"
	bucketCluster        = "cluster"
	bucketMembers        = "members"
	bucketMembersRemoved = "members_removed"
	bucketAuth           = "auth"
	bucketAuthUsers      = "authUsers"
	bucketAuthRoles      = "authRoles"
)

// The keys of the buckets that hold single values.
const (
	keyConsistentIndex  = "consistent_index"
	keyTerm             = "term"
	keyConfState        = "confState"
	keyStorageVersion   = "storageVersion"
	keyScheduledCompact = "scheduledCompactRev"
	keyFinishedCompact  = "finishedCompactRev"
	keyAuthEnabled      = "authEnabled"
	keyAuthRevision     = "authRevision"
	keyClusterVersion   = "clusterVersion"
	keyDowngrade        = "downgrade"
)

// StorageVersion is the version of the layout that is written, as etcd has it since 3.6.
const StorageVersion = "3.7.0"

// Record is one change of one key.
type Record struct {
	Revision, Sub int64
	// Deleted says that the key was deleted; of KV then only the key counts.
	Deleted bool
	KV      *mvccpb.KeyValue
}

// Lease is a granted lease; times are in seconds. Remaining is 0 where it was never noted.
type Lease struct{ ID, TTL, Remaining int64 }

// Member is a member of the cluster that a file is of.
type Member struct {
	ID         uint64
	Name       string
	PeerURLs   []string
	ClientURLs []string
	IsLearner  bool
}

// Contents is what a file holds beside its keys.
type Contents struct {
	// ScheduledCompact and FinishedCompact are the revisions of the last compaction that was asked for, and of
	// the last one whose removals are done.
	ScheduledCompact, FinishedCompact int64
	// Index and Term are those of the last entry of the log that is applied in it.
	Index, Term uint64

	Leases      []Lease
	AuthEnabled bool
	// AuthRevision is 0 where authentication was never touched.
	AuthRevision uint64
	Users        []*authpb.User
	Roles        []*authpb.Role
	Alarms       []*pb.AlarmMember
	Members      []Member
	// Version is the storage version; empty in files of etcd before 3.6.
	Version string
}
