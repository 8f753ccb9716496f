package auth

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestTokens(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fake := clocktesting.NewFakePassiveClock(start)
	broken := errors.New("disk on fire")
	lookup := lookupFunc(func(hash TokenHash) (Token, bool, error) {
		switch hash {
		case HashToken("forever"):
			return Token{Hash: hash, User: User{Name: "a"}}, true, nil
		case HashToken("hour"):
			return Token{Hash: hash, User: User{Name: "b"}, Expires: start.Add(time.Hour)}, true, nil
		case HashToken("mixed up"):
			return Token{Hash: HashToken("other"), User: User{Name: "c"}}, true, nil
		case HashToken("broken"):
			return Token{}, false, broken
		}
		return Token{}, false, nil
	})
	tokens := Tokens{Lookup: lookup, Clock: fake}
	check := func(token, want string, failed bool) {
		t.Helper()
		user, ok, err := tokens.Authenticate(context.Background(), Credentials{Bearer: token})
		if user.Name != want || ok != (want != "") || (err != nil) != failed {
			t.Errorf("%q: %+v, %v, %v", token, user, ok, err)
		}
	}
	check("forever", "a", false)
	check("hour", "b", false)
	check("mixed up", "", true)
	check("broken", "", true)
	check("unknown", "", true)
	check("", "", false)
	fake.SetTime(start.Add(time.Hour))
	check("hour", "", true)
	check("forever", "a", false)
}

type lookupFunc func(TokenHash) (Token, bool, error)

func (f lookupFunc) LookupToken(_ context.Context, hash TokenHash) (Token, bool, error) {
	return f(hash)
}

func TestNewToken(t *testing.T) {
	a, b := NewToken(), NewToken()
	if a == b || len(a) != 43 {
		t.Errorf("tokens %d and %d characters long, equal: %v", len(a), len(b), a == b)
	}
}

func TestParseTokens(t *testing.T) {
	tokens, err := ParseTokens(strings.NewReader("# who, what\nt1,ann\nt2, bob , u2\n\nt3,\"carol, c.\",u3,\"admins, devs\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]User{
		"t1": {Name: "ann"},
		"t2": {Name: "bob", UID: "u2"},
		"t3": {Name: "carol, c.", UID: "u3", Groups: []string{"admins", "devs"}},
	} {
		got, ok, err := tokens.LookupToken(context.Background(), HashToken(token))
		if err != nil || !ok || !reflect.DeepEqual(got.User, want) {
			t.Errorf("%s: %+v, %v, %v", token, got.User, ok, err)
		}
	}
	for text, want := range map[string]string{
		"s3cret":                 "line 1: wants token,user",
		"\ns3cret,":              "line 2: wants token,user",
		",ann":                   "line 1: wants token,user",
		"s3cret,ann\ns3cret,bob": "line 2: its token is on an earlier line too",
	} {
		_, err := ParseTokens(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestReadTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.csv")
	if _, err := ReadTokenFile(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("t,ann\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTokenFile(path); err == nil || !strings.Contains(err.Error(), "set it to 0600") {
		t.Errorf("a file that all can read: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if tokens, err := ReadTokenFile(path); err != nil || len(tokens) != 1 {
		t.Errorf("%v, %v", tokens, err)
	}
}

// TestSecretTokens makes a token's Secret and finds the token in it, and only there.
func TestSecretTokens(t *testing.T) {
	expires := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	user := User{Name: "robot", UID: "7", Groups: []string{"a", "b"}}
	secret := NewTokenSecret("s3cret", user, expires)
	for key, value := range secret.Data {
		if strings.Contains(string(value), "s3cret") {
			t.Errorf("%s holds the token itself", key)
		}
	}
	stored := secret
	lookup := SecretTokens{Get: func(_ context.Context, namespace, name string) (*corev1.Secret, error) {
		if stored == nil || namespace != stored.Namespace || name != stored.Name {
			return nil, nil
		}
		return stored, nil
	}}
	find := func(token string) (Token, bool, error) {
		return lookup.LookupToken(context.Background(), HashToken(token))
	}
	if got, ok, err := find("s3cret"); err != nil || !ok || !reflect.DeepEqual(got, Token{Hash: HashToken("s3cret"), User: user, Expires: expires}) {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if _, ok, err := find("other"); ok || err != nil {
		t.Errorf("another token: %v, %v", ok, err)
	}
	// Whoever may write Secrets but not this type must not make tokens.
	stored = secret.DeepCopy()
	stored.Type = corev1.SecretTypeOpaque
	if _, ok, err := find("s3cret"); ok || err != nil {
		t.Errorf("a secret of another type: %v, %v", ok, err)
	}
	stored = secret.DeepCopy()
	stored.Data["hash"] = []byte("short")
	if _, ok, err := find("s3cret"); ok || err == nil {
		t.Errorf("a bad hash: %v, %v", ok, err)
	}
	stored = secret.DeepCopy()
	stored.Data["expires"] = []byte("tomorrow")
	if _, ok, err := find("s3cret"); ok || err == nil {
		t.Errorf("a bad date: %v, %v", ok, err)
	}
}
