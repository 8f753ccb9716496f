package raftstore

import (
	"time"

	"github.com/ctlplane/ctlplane/kv"
)

// Auth returns the users and roles as this member has applied them (see kv.Store.Auth).
func (m *Member) Auth() *kv.AuthState { return m.machine.Store().Auth() }

// UseAuthToken returns the user whom a token was assigned to (see kv.Store.UseAuthToken). A member that was restarted, or
// whose state was replaced by a snapshot, knows none of the tokens from before.
func (m *Member) UseAuthToken(token string, ttl time.Duration) (user string, ok bool) {
	return m.machine.Store().UseAuthToken(token, ttl)
}

// VisitLeaseKeys calls visit for the keys of a lease as this member has applied them, until visit returns an error, which it
// returns. It starts over when the state is replaced meanwhile.
func (m *Member) VisitLeaseKeys(id int64, visit func(key []byte) error) error {
	return m.machine.WithStore(func(store *kv.Store) error { return store.VisitLeaseKeys(id, visit) })
}
