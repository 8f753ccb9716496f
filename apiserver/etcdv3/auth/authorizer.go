package auth

import (
	"context"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/ctlplane/ctlplane/kv"
)

// Authorizer tells who calls, and whether he may.
type Authorizer struct {
	store  Backend
	tokens tokens
	// commonNames: the name in a client's certificate is that of a user.
	commonNames bool
	// adminCertificates: the cluster's administrators and masters may do everything.
	adminCertificates bool
}

// New makes the authorizer of a member. It panics on options that are not valid: see Options.Validate.
func New(member Backend, o Options) *Authorizer {
	o = o.withDefaults()
	made, err := newTokens(o.Token, o.TokenTTL, member, o.Clock)
	if err != nil {
		panic(err)
	}
	return &Authorizer{
		store: member, tokens: made, commonNames: o.ClientCertAuth, adminCertificates: o.AdminCertificates,
	}
}

// Permission is a question to the users and roles.
type Permission func(*kv.AuthState, *kv.Caller) error

// Caller tells for whom a call is, nil for somebody who may do everything. While users are not told apart it is
// kv.Anonymous: the state in which a command is applied may be another one.
func (a *Authorizer) Caller(ctx context.Context) (*kv.Caller, error) {
	auth := a.store.Auth()
	if !auth.Enabled() {
		return kv.Anonymous, nil
	}
	return a.identify(ctx, auth)
}

// identify is Caller where users are told apart: by token, and by certificate where there is none.
func (a *Authorizer) identify(ctx context.Context, auth *kv.AuthState) (*kv.Caller, error) {
	if token, ok := callToken(ctx); ok {
		caller, ok := a.tokens.caller(token, auth)
		if !ok {
			return nil, kv.ErrInvalidAuthToken
		}
		return caller, nil
	}
	if a.adminCertificates && adminCall(ctx) {
		return nil, nil
	}
	if a.commonNames {
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

// Check asks by what this member has applied, and returns by which state it was answered.
func (a *Authorizer) Check(ctx context.Context, permitted Permission) (*kv.AuthState, error) {
	auth := a.store.Auth()
	if !auth.Enabled() {
		return auth, nil
	}
	caller, err := a.identify(ctx, auth)
	if err != nil {
		return auth, err
	}
	if caller != nil && caller.AuthRevision > auth.Revision() {
		return auth, kv.ErrAuthOldRevision // a signed token tells that there were changes since
	}
	return auth, permitted(auth, caller)
}

// CheckLatest is Check, and where that refuses, again by the latest state: the user, his token or his right may be so new that
// this member has not applied them yet.
func (a *Authorizer) CheckLatest(ctx context.Context, permitted Permission) (*kv.AuthState, error) {
	auth, refusal := a.Check(ctx, permitted)
	if refusal == nil {
		return auth, nil
	}
	if err := a.store.LinearizableRead(ctx); err != nil {
		return auth, err
	}
	return a.Check(ctx, permitted)
}

// user, admin and the like are rules for whole calls.
func (a *Authorizer) user(ctx context.Context) error {
	_, err := a.CheckLatest(ctx, (*kv.AuthState).CheckUser)
	return err
}

// admin also refuses a signed token from before the last change: its user may have another password since.
func (a *Authorizer) admin(ctx context.Context) error {
	_, err := a.CheckLatest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
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

// Read reads what permitted permits: under one and the same state of users and roles, so that nothing is read by a right
// that was taken away before it was written. A serializable read is by what this member knows, like what it reads.
func Read[T any](ctx context.Context, a *Authorizer, serializable bool, permitted Permission, read func() (*T, error)) (*T, error) {
	for range readAttempts {
		check := a.CheckLatest
		if serializable {
			check = a.Check
		}
		auth, err := check(ctx, permitted)
		if err != nil {
			return nil, err
		}
		resp, err := read()
		if err != nil {
			return nil, err
		}
		if a.store.Auth() == auth {
			return resp, nil
		}
	}
	return nil, kv.ErrAuthOldRevision
}
