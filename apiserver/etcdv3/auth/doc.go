// Package auth tells etcd's users apart on the client port, and what each may do: who calls, by token or certificate
// (Authorizer); which RPC is for whom (rules); and etcd's Auth service, by which users and roles are changed (NewServer).
//
// Users, roles and simple tokens are in the store, which checks every write by them where it is applied. What is only read
// is checked here, by what this member has applied.
//
// Invariants:
//  1. An RPC without a rule is for administrators.
//  2. What is read is read under one and the same state of users and roles (see Read), or checked again when that changes
//     (see WatchPermission).
//  3. No password gets further than the server that is asked with it: a command has its hash alone.
//
// Everything may be used by any number of goroutines; there is none of its own.
package auth

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// Backend is a member of the store, as far as users and roles go. They and their rights are as the member has applied them.
type Backend interface {
	Auth() *kv.AuthState
	// UseAuthToken returns whom a token was assigned to, unless it was last used longer than ttl ago.
	UseAuthToken(token string, ttl time.Duration) (user string, ok bool)
	// LinearizableRead returns once this member has applied all that was committed before the call.
	LinearizableRead(ctx context.Context) error
	// Propose has a command committed and applied, and returns its outcome with a complete header.
	Propose(ctx context.Context, c kv.Command) (kv.Result, error)
	// Header is the header of a response that is made now.
	Header() *pb.ResponseHeader
}
