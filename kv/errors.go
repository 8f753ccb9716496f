package kv

import (
	"errors"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// ErrorCode is an error that a client caused or has to handle. It is part of a Result, the same on every
// member, and it survives being sent as its number. Its text is the one that etcd's clients know. Zero is
// no error and never appears as an error value.
type ErrorCode uint32

// The error codes. Their numbers are sent between members: add at the end, never renumber.
const (
	ErrCompacted ErrorCode = iota + 1
	ErrFutureRevision
	ErrLeaseNotFound
	ErrLeaseExists
	ErrKeyNotFound
	ErrDuplicateKey
	ErrTooManyOps
	ErrEmptyKey
	ErrLeaseTTLTooLarge
	ErrNoSpace
	ErrInvalidRange
	ErrValueProvided
	ErrLeaseProvided
	ErrInvalidSortOption
	ErrMemberExists
	ErrMemberNotFound
	ErrMemberRemoved
	ErrInvalidCommand
	ErrDowngradeInProcess
	ErrNoDowngrade
	ErrCorrupt
	ErrRootUserNotExist
	ErrRootRoleNotExist
	ErrUserExists
	ErrUserEmpty
	ErrUserNotFound
	ErrRoleExists
	ErrRoleNotFound
	ErrRoleEmpty
	ErrAuthFailed
	ErrPermissionNotGiven
	ErrPermissionDenied
	ErrRoleNotGranted
	ErrPermissionNotGranted
	ErrAuthNotEnabled
	ErrInvalidAuthToken
	ErrInvalidAuthMgmt
	ErrAuthOldRevision
)

var errorTexts = [...]string{
	ErrCompacted:         "etcdserver: mvcc: required revision has been compacted",
	ErrFutureRevision:    "etcdserver: mvcc: required revision is a future revision",
	ErrLeaseNotFound:     "etcdserver: requested lease not found",
	ErrLeaseExists:       "etcdserver: lease already exists",
	ErrKeyNotFound:       "etcdserver: key not found",
	ErrDuplicateKey:      "etcdserver: duplicate key given in txn request",
	ErrTooManyOps:        "etcdserver: too many operations in txn request",
	ErrEmptyKey:          "etcdserver: key is not provided",
	ErrLeaseTTLTooLarge:  "etcdserver: too large lease TTL",
	ErrNoSpace:           "etcdserver: mvcc: database space exceeded",
	ErrInvalidRange:      "etcdserver: invalid range",
	ErrValueProvided:     "etcdserver: value is provided",
	ErrLeaseProvided:     "etcdserver: lease is provided",
	ErrInvalidSortOption: "etcdserver: invalid sort option",
	ErrMemberExists:      "etcdserver: member ID already exist",
	ErrMemberNotFound:    "etcdserver: member not found",
	ErrMemberRemoved:     "etcdserver: member was removed and its ID can't be used again",
	ErrInvalidCommand:    "etcdserver: malformed command",
	ErrCorrupt:           "etcdserver: corrupt cluster",

	ErrDowngradeInProcess: "etcdserver: cluster has a downgrade job in progress",
	ErrNoDowngrade:        "etcdserver: no inflight downgrade job",

	ErrRootUserNotExist:     "etcdserver: root user does not exist",
	ErrRootRoleNotExist:     "etcdserver: root user does not have root role",
	ErrUserExists:           "etcdserver: user name already exists",
	ErrUserEmpty:            "etcdserver: user name is empty",
	ErrUserNotFound:         "etcdserver: user name not found",
	ErrRoleExists:           "etcdserver: role name already exists",
	ErrRoleNotFound:         "etcdserver: role name not found",
	ErrRoleEmpty:            "etcdserver: role name is empty",
	ErrAuthFailed:           "etcdserver: authentication failed, invalid user ID or password",
	ErrPermissionNotGiven:   "etcdserver: permission not given",
	ErrPermissionDenied:     "etcdserver: permission denied",
	ErrRoleNotGranted:       "etcdserver: role is not granted to the user",
	ErrPermissionNotGranted: "etcdserver: permission is not granted to the role",
	ErrAuthNotEnabled:       "etcdserver: authentication is not enabled",
	ErrInvalidAuthToken:     "etcdserver: invalid auth token",
	ErrInvalidAuthMgmt:      "etcdserver: invalid auth management",
	ErrAuthOldRevision:      "etcdserver: revision of auth store is old",
}

// Error returns etcd's text for the code.
func (c ErrorCode) Error() string {
	if int(c) < len(errorTexts) && errorTexts[c] != "" {
		return errorTexts[c]
	}
	return "etcdserver: unknown error"
}

// Errors of this process, never part of a Result.
var (
	// ErrClosed is returned by every call on a Store, or a WatchStream of it, that was closed.
	ErrClosed = errors.New("kv: the store is closed")
	// ErrStreamClosed is returned by calls on a WatchStream after its Close.
	ErrStreamClosed = errors.New("kv: the watch stream is closed")
	// ErrWatchExists is returned by Watch for an id that the stream already has.
	ErrWatchExists = errors.New("kv: the watch id is already used on this stream; choose another, or 0 for an automatic one")
	// ErrWatchNotFound is returned by Cancel for an id that the stream doesn't have.
	ErrWatchNotFound = errors.New("kv: no watch with this id on the stream")
	// ErrInUse is wrapped by Open's error when another process, or this one, has the directory open.
	ErrInUse = errors.New("kv: the directory is in use")
	// ErrFormat is wrapped by Open's error when the directory was written in a format that this version
	// can't read.
	ErrFormat = layout.ErrFormat
)
