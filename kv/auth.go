package kv

import (
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
)

// RootUser and RootRole are etcd's: only with a user root that has the role root can users be told apart, and who
// has the role may do everything.
const (
	RootUser = "root"
	RootRole = "root"
)

// Caller is the client for whom a command is proposed.
type Caller struct {
	// User is a name, empty for a client without credentials.
	User string
	// AuthRevision is that of the users and roles by which the client was told apart. It is never 0 for a user.
	AuthRevision uint64
}

// Anonymous is the Caller of a client without credentials. It must not be changed.
var Anonymous = &Caller{}

// AuthState is the users and roles as they were after some entry of the log. It never changes: every change makes
// another one.
//
// Invariants:
//  1. grants has an entry for each user, of what the user's roles permit together.
//  2. A user's roles are sorted, and so are a role's permissions.
type AuthState struct {
	enabled  bool
	revision uint64
	users    map[string]*authpb.User
	roles    map[string]*authpb.Role
	grants   map[string]*grants

	// settled is nil, or closed when this state was replaced: see authTable.
	settled chan struct{}
}

// grants is what a user may read and write.
type grants struct{ read, write rangeSet }

func newAuthState() *AuthState {
	return &AuthState{
		revision: 1, // as in etcd
		users:    map[string]*authpb.User{}, roles: map[string]*authpb.Role{}, grants: map[string]*grants{},
	}
}

// clone returns a copy to be changed: the messages in it must be replaced, not written to.
func (a *AuthState) clone() *AuthState {
	return &AuthState{
		enabled: a.enabled, revision: a.revision,
		users: maps.Clone(a.users), roles: maps.Clone(a.roles), grants: maps.Clone(a.grants),
	}
}

// Enabled tells whether users are told apart. While they are not, everybody may do everything.
func (a *AuthState) Enabled() bool { return a.enabled }

// Revision counts the changes of users and roles, from 1 on. It has nothing to do with that of the keys.
func (a *AuthState) Revision() uint64 { return a.revision }

// User returns a user, which must not be changed, or nil.
func (a *AuthState) User(name string) *authpb.User { return a.users[name] }

// Role returns a role, which must not be changed, or nil.
func (a *AuthState) Role(name string) *authpb.Role { return a.roles[name] }

// Users returns the names of all users in their order.
func (a *AuthState) Users() []string { return slices.Sorted(maps.Keys(a.users)) }

// Roles returns the names of all roles in their order.
func (a *AuthState) Roles() []string { return slices.Sorted(maps.Keys(a.roles)) }

// HasRole tells whether there is such a user, who has such a role.
func (a *AuthState) HasRole(user, role string) bool {
	u := a.users[user]
	return u != nil && hasRole(u, role)
}

func hasRole(u *authpb.User, role string) bool {
	_, ok := slices.BinarySearch(u.Roles, role)
	return ok
}

// merge makes the grants of one user anew.
func (a *AuthState) merge(user string) {
	u := a.users[user]
	if u == nil {
		delete(a.grants, user)
		return
	}
	var read, write []keyRange
	for _, name := range u.Roles {
		for _, p := range a.roles[name].GetKeyPermission() {
			r := newKeyRange(p.Key, p.RangeEnd)
			if p.PermType == authpb.Permission_READ || p.PermType == authpb.Permission_READWRITE {
				read = append(read, r)
			}
			if p.PermType == authpb.Permission_WRITE || p.PermType == authpb.Permission_READWRITE {
				write = append(write, r)
			}
		}
	}
	a.grants[user] = &grants{read: newRangeSet(read), write: newRangeSet(write)}
}

// mergeWith makes the grants anew of all users who have a role.
func (a *AuthState) mergeWith(role string) {
	for name, u := range a.users {
		if hasRole(u, role) {
			a.merge(name)
		}
	}
}
