package auth

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// Propose has a command applied for the caller of ctx, who is permitted or refused where it is applied.
func Propose[R proto.Message](ctx context.Context, a *Authorizer, c kv.Command) (R, error) {
	var none R
	for again := false; ; again = true {
		caller, err := a.Caller(ctx)
		if err == nil {
			c.Caller = caller
			var result kv.Result
			if result, err = a.store.Propose(ctx, c); err == nil {
				err = result.Err
			}
			if err == nil {
				return result.Response.(R), nil
			}
		}
		// It was refused, so it may be proposed again: as soon as this member knows what it was refused by.
		if again || !stale(err) && !errors.Is(err, kv.ErrInvalidAuthToken) || a.store.LinearizableRead(ctx) != nil {
			return none, err
		}
	}
}

// stale tells whether a command may have been refused because this member did not know yet who may do what.
func stale(err error) bool {
	return errors.Is(err, kv.ErrAuthOldRevision) || errors.Is(err, kv.ErrUserEmpty)
}
