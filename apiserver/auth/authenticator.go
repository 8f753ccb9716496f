package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Credentials is what a caller showed of itself, whichever wire it came over.
type Credentials struct {
	// TLS is the connection's state, nil on a connection without TLS.
	TLS *tls.ConnectionState
	// Bearer is the token of the Authorization header, empty when there was none.
	Bearer string
}

// ErrBadCredentials is what a caller is told whose credentials are not good.
var ErrBadCredentials = errors.New("the credentials are not valid here: " +
	"use a client certificate that this cluster's CA signed, or a token that it issued")

// RejectedError is an ErrBadCredentials whose text does not tell the caller what was wrong: that
// would help a guesser. Cause says it, for the server's log alone.
type RejectedError struct{ Cause error }

func (e *RejectedError) Error() string { return ErrBadCredentials.Error() }

// Unwrap makes errors.Is find ErrBadCredentials.
func (e *RejectedError) Unwrap() error { return ErrBadCredentials }

// ErrNoCredentials is returned when a caller showed none.
var ErrNoCredentials = errors.New("no credentials were given: " +
	"use a client certificate that this cluster's CA signed, or a bearer token")

// Authenticator finds out who a caller is. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate gives the caller's user; ok is false when the credentials hold nothing that this
	// authenticator understands, and an error when they do and it is not good.
	Authenticate(ctx context.Context, c Credentials) (user User, ok bool, err error)
}

// Union asks authenticators in order and takes the first user that one of them knows. When none
// does, bad credentials are an error even if another authenticator saw nothing in them.
type Union []Authenticator

// Authenticate implements Authenticator.
func (u Union) Authenticate(ctx context.Context, c Credentials) (User, bool, error) {
	var failures []error
	for _, authenticator := range u {
		user, ok, err := authenticator.Authenticate(ctx, c)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if ok {
			return user, true, nil
		}
	}
	return User{}, false, errors.Join(failures...)
}

// FromRequest gathers the credentials of an HTTP request.
func FromRequest(r *http.Request) Credentials {
	return Credentials{TLS: r.TLS, Bearer: bearer(r.Header.Get("Authorization"))}
}

// FromContext gathers the credentials of a gRPC call.
func FromContext(ctx context.Context) Credentials {
	var c Credentials
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			c.TLS = &info.State
		}
	}
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		c.Bearer = bearer(values[0])
	}
	return c
}

// bearer takes the token out of an Authorization header of the scheme Bearer.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Request authenticates an HTTP request; every user it gives is in group system:authenticated, but for Anonymous, whose is one for a
// public path without credentials. A request to act as another is refused with a Status.
func Request(a Authenticator, r *http.Request) (User, error) {
	user, err := identify(r.Context(), a, FromRequest(r))
	if errors.Is(err, ErrNoCredentials) && r.Header.Get("Authorization") == "" && isPublic(r.URL.Path) {
		user, err = Anonymous, nil
	}
	if err == nil {
		err = RefuseImpersonation(r.Header)
	}
	return user, err
}

// Call authenticates a gRPC call; every user it gives is in group system:authenticated. A call to act as another is refused with
// a Status.
func Call(ctx context.Context, a Authenticator) (User, error) {
	user, err := identify(ctx, a, FromContext(ctx))
	if err == nil {
		md, _ := metadata.FromIncomingContext(ctx)
		err = RefuseImpersonation(md)
	}
	return user, err
}

func identify(ctx context.Context, a Authenticator, c Credentials) (User, error) {
	user, ok, err := a.Authenticate(ctx, c)
	switch {
	case err != nil:
		return User{}, &RejectedError{Cause: err}
	case !ok:
		return User{}, ErrNoCredentials
	}
	if !user.In(GroupAuthenticated) {
		user.Groups = append(user.Groups[:len(user.Groups):len(user.Groups)], GroupAuthenticated)
	}
	return user, nil
}
