package kv

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clocktesting "k8s.io/utils/clock/testing"
)

func assign(user, token string) Command {
	return authCommand(&pb.InternalAuthenticateRequest{Name: user, SimpleToken: HashAuthToken(token)})
}

func TestTokensLastFromTheirLastUse(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s := withUsers(t, Options{Clock: clock})
	allowed(t, s, assign("alice", "used"), assign("alice", "unused"))
	const ttl = time.Minute
	for range 3 {
		clock.Step(ttl)
		if user, ok := s.UseAuthToken("used", ttl); !ok || user != "alice" {
			t.Fatalf("used in time: %q, %v", user, ok)
		}
	}
	if _, ok := s.UseAuthToken("unused", ttl); ok {
		t.Error("a token is good though it was not used in time")
	}
	clock.Step(ttl + 1)
	if _, ok := s.UseAuthToken("used", ttl); ok {
		t.Error("a token is good after its time")
	}
	if n := len(s.tokens.index) + s.tokens.used.Len(); n != 0 {
		t.Errorf("%d expired tokens are remembered", n)
	}
}

func TestTokensEndWithWhatTheyWereGivenFor(t *testing.T) {
	for name, end := range map[string][]Command{
		"user":     {authCommand(&pb.AuthUserDeleteRequest{Name: "alice"}), addUser("alice")}, // the other one has another password
		"password": {authCommand(&pb.AuthUserChangePasswordRequest{Name: "alice", HashedPassword: "bmV3"})},
		"auth":     {authCommand(&pb.AuthDisableRequest{}), authCommand(&pb.AuthEnableRequest{})},
	} {
		t.Run(name, func(t *testing.T) {
			s := withUsers(t, Options{})
			allowed(t, s, authCommand(&pb.AuthUserChangePasswordRequest{Name: "alice", HashedPassword: "b2xk"}), assign("alice", "t"), assign(RootUser, "r"))
			allowed(t, s, giveRole("alice", RootRole)) // which changes nothing about her token
			if user, ok := s.UseAuthToken("t", time.Hour); !ok || user != "alice" {
				t.Fatal(user, ok)
			}
			allowed(t, s, end...)
			if user, ok := s.UseAuthToken("t", time.Hour); ok {
				t.Errorf("the token of %s is still good", user)
			}
			if _, ok := s.UseAuthToken("r", time.Hour); ok == (name == "auth") {
				t.Errorf("root's token is good: %v", ok)
			}
		})
	}
}

func TestTokensAreRefused(t *testing.T) {
	s := withUsers(t, Options{})
	allowed(t, s, authCommand(&pb.AuthUserAddRequest{Name: "bob", Options: &authpb.UserAddOptions{NoPassword: true}}))
	refused(t, s, ErrAuthFailed, assign("bob", "t"))
	refused(t, s, ErrAuthFailed, assign("nobody", "t"))
	stale := assign("alice", "t")
	stale.Caller = &Caller{User: "alice", AuthRevision: s.Auth().Revision() - 1}
	refused(t, s, ErrAuthOldRevision, stale) // her password may have been another one when it was checked
	allowed(t, s, authCommand(&pb.AuthDisableRequest{}))
	refused(t, s, ErrAuthNotEnabled, assign("alice", "t"))
}

func TestTokensAreBounded(t *testing.T) {
	table := newTokenTable(clocktesting.NewFakeClock(time.Unix(0, 0)))
	for i := range maxAuthTokens + 10 {
		table.commit([]tokenAssignment{{hash: fmt.Sprint(i), user: "alice"}}, false)
		table.use("0", time.Hour)
	}
	if n := len(table.index); n != maxAuthTokens || table.used.Len() != n {
		t.Errorf("%d tokens remembered, %d in their order", n, table.used.Len())
	}
	if _, ok := table.use("0", time.Hour); !ok {
		t.Error("the one in use was forgotten")
	}
	if _, ok := table.use("1", time.Hour); ok {
		t.Error("the one unused for the longest was kept")
	}
}
