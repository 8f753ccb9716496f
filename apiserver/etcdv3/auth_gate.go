package etcdv3

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/ctlplane/ctlplane/kv"
)

// AuthStore is what has to be known to tell users apart. Users and their rights are as this member has applied them.
type AuthStore interface {
	Auth() *kv.AuthState
	// UseAuthToken returns whom a token was assigned to, unless it was last used longer than ttl ago.
	UseAuthToken(token string, ttl time.Duration) (user string, ok bool)
	VisitLeaseKeys(id int64, visit func(key []byte) error) error
	// LinearizableRead returns once this member has applied all that was committed before the call.
	LinearizableRead(ctx context.Context) error
}

// gate tells who calls, and whether he may.
type gate struct {
	store  AuthStore
	tokens tokens
	// commonNames: the name in a client's certificate is that of a user.
	commonNames bool
	// adminCertificates: the cluster's administrators and masters may do everything.
	adminCertificates bool
	log               *slog.Logger
}

// permission is a question to the users and roles.
type permission func(*kv.AuthState, *kv.Caller) error

// caller tells for whom a call is, nil for somebody who may do everything. While users are not told apart it is
// kv.Anonymous: the state in which a command is applied may be another one.
func (g *gate) caller(ctx context.Context) (*kv.Caller, error) {
	auth := g.store.Auth()
	if !auth.Enabled() {
		return kv.Anonymous, nil
	}
	return g.identify(ctx, auth)
}

// identify is caller where users are told apart: by token, and by certificate where there is none.
func (g *gate) identify(ctx context.Context, auth *kv.AuthState) (*kv.Caller, error) {
	if token, ok := callToken(ctx); ok {
		caller, ok := g.tokens.caller(token, auth)
		if !ok {
			return nil, kv.ErrInvalidAuthToken
		}
		return caller, nil
	}
	if g.adminCertificates && adminCall(ctx) {
		return nil, nil
	}
	if g.commonNames {
		if name := commonName(ctx); name != "" {
			return &kv.Caller{User: name, AuthRevision: auth.Revision()}, nil
		}
	}
	return kv.Anonymous, nil
}

// callToken returns the token that came with a call. The gateway passes on what etcd's HTTP clients send.
func callToken(ctx context.Context) (string, bool) {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC)
	if len(values) == 0 {
		values = metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger)
	}
	if len(values) == 0 {
		return "", false
	}
	return strings.TrimPrefix(values[0], "Bearer "), true
}

// certificateCall returns the TLS state of a call whose certificate is the caller's own: over the gateway it is the
// gateway's.
func certificateCall(ctx context.Context) (credentials.TLSInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok || len(metadata.ValueFromIncomingContext(ctx, "grpcgateway-accept")) > 0 {
		return credentials.TLSInfo{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info, ok && len(info.State.VerifiedChains) > 0 && len(info.State.VerifiedChains[0]) > 0
}

func commonName(ctx context.Context) string {
	info, ok := certificateCall(ctx)
	if !ok {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

func adminCall(ctx context.Context) bool {
	info, ok := certificateCall(ctx)
	return ok && adminSubject(info.State.VerifiedChains[0][0].Subject)
}

// ask puts a question by what this member has applied, and returns by which state it was answered.
func (g *gate) ask(ctx context.Context, permitted permission) (*kv.AuthState, error) {
	auth := g.store.Auth()
	if !auth.Enabled() {
		return auth, nil
	}
	caller, err := g.identify(ctx, auth)
	if err != nil {
		return auth, err
	}
	if caller != nil && caller.AuthRevision > auth.Revision() {
		return auth, kv.ErrAuthOldRevision // a signed token tells that there were changes since
	}
	return auth, permitted(auth, caller)
}

// askLatest is ask, and where that refuses, again by the latest state: the user, his token or his right may be so new that
// this member has not applied them yet.
func (g *gate) askLatest(ctx context.Context, permitted permission) (*kv.AuthState, error) {
	auth, refusal := g.ask(ctx, permitted)
	if refusal == nil {
		return auth, nil
	}
	if err := g.store.LinearizableRead(ctx); err != nil {
		return auth, err
	}
	return g.ask(ctx, permitted)
}

// user, admin and the like are rules for whole calls.
func (g *gate) user(ctx context.Context) error {
	_, err := g.askLatest(ctx, (*kv.AuthState).CheckUser)
	return err
}

// admin also refuses a signed token from before the last change: its user may have another password since.
func (g *gate) admin(ctx context.Context) error {
	_, err := g.askLatest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
		if err := auth.CheckAdmin(c); err != nil {
			return err
		}
		if c != nil && auth.Enabled() && c.AuthRevision < auth.Revision() {
			return kv.ErrAuthOldRevision
		}
		return nil
	})
	return err
}

// readAttempts is how often a read is tried while users and roles change under it.
const readAttempts = 3

// guarded reads what permitted permits: under one and the same state of users and roles, so that nothing is read by a right
// that was taken away before it was written. A serializable read is by what this member knows, like what it reads.
func guarded[T any](ctx context.Context, g *gate, serializable bool, permitted permission, read func() (*T, error)) (*T, error) {
	for range readAttempts {
		ask := g.askLatest
		if serializable {
			ask = g.ask
		}
		auth, err := ask(ctx, permitted)
		if err != nil {
			return nil, err
		}
		resp, err := read()
		if err != nil {
			return nil, err
		}
		if g.store.Auth() == auth {
			return resp, nil
		}
	}
	return nil, kv.ErrAuthOldRevision
}

// stale tells whether a command may have been refused because this member did not know yet who may do what.
func stale(err error) bool {
	return errors.Is(err, kv.ErrAuthOldRevision) || errors.Is(err, kv.ErrUserEmpty)
}
