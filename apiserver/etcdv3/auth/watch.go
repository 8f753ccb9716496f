package auth

import (
	"context"
	"sync/atomic"

	"github.com/ctlplane/ctlplane/kv"
)

// WatchPermission is by what a watch was permitted. It is looked at again whenever users and roles have changed: a watch whose
// user has lost the right ends, before it is sent anything more. It does not end with its token, which is asked for when the
// watch begins.
type WatchPermission struct {
	by       *Authorizer
	user     *kv.Caller // nil: may do everything
	key, end []byte
	held     atomic.Pointer[kv.AuthState] // by which it was last looked at
}

// PermitWatch tells whether the caller may watch a range. Only without an error may the watch begin.
func (a *Authorizer) PermitWatch(ctx context.Context, key, end []byte) (*WatchPermission, error) {
	r := &WatchPermission{by: a, user: kv.Anonymous, key: key, end: end}
	auth, err := a.CheckLatest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
		r.user = c
		return auth.CheckRead(c, key, end)
	})
	r.held.Store(auth)
	return r, err
}

// Check tells whether the watch may go on.
func (r *WatchPermission) Check() error {
	if r.user == nil {
		return nil
	}
	auth := r.by.store.Auth()
	if auth == r.held.Load() {
		return nil
	}
	err := auth.CheckRead(&kv.Caller{User: r.user.User, AuthRevision: auth.Revision()}, r.key, r.end)
	if err == nil {
		r.held.Store(auth)
	}
	return err
}
