package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/kv"
)

// DefaultTokenTTL is how long a token is good for after its last use, or a signed one from the beginning.
const DefaultTokenTTL = 5 * time.Minute

// The kinds of tokens.
const (
	simpleTokens = "simple"
	jwtTokens    = "jwt"
)

// tokens are what users get for their passwords.
type tokens interface {
	// issue makes a token for a user whose password was right at this revision of users and roles. It fails with
	// kv.ErrAuthOldRevision if there is another one by now.
	issue(ctx context.Context, user string, revision uint64) (string, error)
	// caller tells whose token this is.
	caller(token string, auth *kv.AuthState) (*kv.Caller, bool)
}

// tokenOptions is the value of etcd's --auth-token taken apart.
type tokenOptions struct {
	kind   string
	values map[string]string
}

// parseAuthToken reads "simple", or "jwt" and its options: `jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=10m`. Empty is
// "simple".
func parseAuthToken(value string) (tokenOptions, error) {
	kind, rest, more := strings.Cut(value, ",")
	o := tokenOptions{kind: kind, values: map[string]string{}}
	switch {
	case kind == "" && !more:
		o.kind = simpleTokens
		return o, nil
	case kind != simpleTokens && kind != jwtTokens:
		return o, fmt.Errorf("--auth-token: unknown kind of tokens %q: there are %s, and %s with options", kind, simpleTokens, jwtTokens)
	case kind == simpleTokens && more:
		return o, fmt.Errorf("--auth-token: %s has no options, leave out %q (--auth-token-ttl says how long they last)", simpleTokens, rest)
	case kind == jwtTokens && !more:
		return o, errors.New("--auth-token: jwt needs options: jwt,sign-method=METHOD,priv-key=FILE[,pub-key=FILE][,ttl=DURATION]")
	}
	if !more {
		return o, nil
	}
	for _, option := range strings.Split(rest, ",") {
		name, v, ok := strings.Cut(option, "=")
		_, twice := o.values[name]
		switch {
		case !ok || strings.Contains(v, "="):
			return o, fmt.Errorf("--auth-token: %q is not of the form name=value", option)
		case !slices.Contains(jwtOptions, name):
			return o, fmt.Errorf("--auth-token: unknown option %q: there are %s", name, strings.Join(jwtOptions, ", "))
		case twice:
			return o, fmt.Errorf("--auth-token: option %q is given twice", name)
		}
		o.values[name] = v
	}
	return o, nil
}

// newTokens makes the tokens that etcd's --auth-token asks for. It reads the files that are named in it.
func newTokens(value string, ttl time.Duration, store Backend, c clock.PassiveClock) (tokens, error) {
	o, err := parseAuthToken(value)
	if err != nil {
		return nil, err
	}
	if o.kind == jwtTokens {
		return newSignedTokens(o.values, c)
	}
	if ttl <= 0 {
		ttl = DefaultTokenTTL
	}
	return &assignedTokens{store: store, ttl: ttl}, nil
}

// CheckToken tells what is wrong with a value of etcd's --auth-token, the files that it names included.
func CheckToken(value string) error {
	_, err := newTokens(value, 0, nil, clock.RealClock{})
	return err
}

// assignedTokens are etcd's simple ones: random, and known to every member that has applied their assignment.
type assignedTokens struct {
	store Backend
	ttl   time.Duration
}

func (t *assignedTokens) issue(ctx context.Context, user string, revision uint64) (string, error) {
	token := rand.Text()
	result, err := t.store.Propose(ctx, kv.Command{
		Auth:   &pb.InternalAuthenticateRequest{Name: user, SimpleToken: kv.HashAuthToken(token)},
		Caller: &kv.Caller{User: user, AuthRevision: revision},
	})
	if err == nil {
		err = result.Err
	}
	return token, err
}

func (t *assignedTokens) caller(token string, auth *kv.AuthState) (*kv.Caller, bool) {
	user, ok := t.store.UseAuthToken(token, t.ttl)
	return &kv.Caller{User: user, AuthRevision: auth.Revision()}, ok
}
