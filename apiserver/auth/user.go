// Package auth tells who is asking and whether they may: authenticators for HTTP and gRPC requests,
// and the chain of authorizers that both faces of the API server share.
package auth

import (
	"context"
	"slices"
)

// Names that the rules below and Kubernetes' own clients know.
const (
	GroupMasters         = "system:masters"
	GroupNodes           = "system:nodes"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	NodePrefix           = "system:node:"
)

// User is who a request comes from. It is not changed once it is in a context.
type User struct {
	Name   string
	UID    string
	Groups []string
}

// In tells whether the user belongs to the group.
func (u User) In(group string) bool { return slices.Contains(u.Groups, group) }

// Node gives the name of the node that the user is the agent of.
func (u User) Node() (name string, ok bool) {
	if !u.In(GroupNodes) || len(u.Name) <= len(NodePrefix) || u.Name[:len(NodePrefix)] != NodePrefix {
		return "", false
	}
	return u.Name[len(NodePrefix):], true
}

// System is the user of a loop inside the master process, named system:<name>. It may do all.
func System(name string) User {
	return User{Name: "system:" + name, Groups: []string{GroupMasters, GroupAuthenticated}}
}

type userKey struct{}

// WithUser returns a context in which requests are the user's.
func WithUser(ctx context.Context, user User) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// UserFrom gives the user of a context; ok is false when nobody was authenticated.
func UserFrom(ctx context.Context) (user User, ok bool) {
	user, ok = ctx.Value(userKey{}).(User)
	return user, ok
}
