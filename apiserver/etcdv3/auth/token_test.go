package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/golang-jwt/jwt/v5"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/kv"
)

// keyFiles writes a key pair to files.
func keyFiles(t testing.TB, private crypto.Signer) (privateFile, publicFile string) {
	t.Helper()
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	privateFile = write("private.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(private.Public())
	return privateFile, write("public.pem", "PUBLIC KEY", der, err)
}

func makeKey[K any](t testing.TB) func(K, error) K {
	return func(key K, err error) K {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
}

func TestSignedTokens(t *testing.T) {
	ec := makeKey[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ecOther, _ := keyFiles(t, makeKey[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	rsaKey := makeKey[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	for method, key := range map[string]crypto.Signer{"ES256": ec, "RS256": rsaKey, "PS384": rsaKey, "EdDSA": edKey, "HS256": nil} {
		t.Run(method, func(t *testing.T) {
			value, checking := "jwt,sign-method="+method+",ttl=1m,priv-key="+secret, ""
			if key != nil {
				private, public := keyFiles(t, key)
				value = "jwt,sign-method=" + method + ",ttl=1m,priv-key=" + private + ",pub-key=" + public
				checking = "jwt,sign-method=" + method + ",pub-key=" + public
			}
			signer := mustTokens(t, value, clock)
			token, err := signer.issue(t.Context(), "alice", 7)
			if err != nil {
				t.Fatal(err)
			}
			check := func(by tokens, want bool) {
				t.Helper()
				c, ok := by.caller(token, nil)
				if ok != want || ok && (c.User != "alice" || c.AuthRevision != 7) {
					t.Errorf("%+v, %v", c, ok)
				}
			}
			check(signer, true)
			if checking != "" {
				checker := mustTokens(t, checking, clock)
				check(checker, true)
				if _, err := checker.issue(t.Context(), "alice", 7); !errors.Is(err, errCannotSign) {
					t.Errorf("signed without a key: %v", err)
				}
			}
			if method == "ES256" {
				check(mustTokens(t, "jwt,sign-method=ES256,priv-key="+ecOther, clock), false)
				// A token that was signed with the public key as a secret, of which everybody knows.
				public, _ := os.ReadFile(strings.TrimPrefix(checking, "jwt,sign-method=ES256,pub-key="))
				token, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{Username: "alice", Revision: 7}).SignedString(public)
				check(signer, false)
				token, _ = jwt.NewWithClaims(jwt.SigningMethodNone, claims{Username: "alice", Revision: 7}).SignedString(jwt.UnsafeAllowNoneSignatureType)
				check(signer, false)
				token, _ = signer.issue(t.Context(), "alice", 7)
			}
			clock.SetTime(clock.Now().Add(time.Minute + time.Second))
			check(signer, false)
		})
	}
}

func mustTokens(t testing.TB, value string, c *clocktesting.FakePassiveClock) tokens {
	t.Helper()
	made, err := newTokens(value, 0, nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestAuthTokenOptions(t *testing.T) {
	ec, _ := keyFiles(t, makeKey[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	_, other := keyFiles(t, makeKey[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	for _, value := range []string{"", "simple", "jwt,sign-method=ES256,priv-key=" + ec} {
		if err := CheckToken(value); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	for value, want := range map[string]string{
		"complicated":                            "unknown kind",
		"simple,ttl=1m":                          "no options",
		",":                                      "unknown kind",
		"jwt":                                    "needs options",
		"jwt,":                                   "name=value",
		"jwt,sign-method":                        "name=value",
		"jwt,sign-method=a=b":                    "name=value",
		"jwt,color=red":                          "there are sign-method",
		"jwt,ttl=1m,ttl=2m":                      "twice",
		"jwt,ttl=1m":                             "not known",
		"jwt,sign-method=none":                   "does not sign",
		"jwt,sign-method=ES256":                  "give priv-key",
		"jwt,sign-method=HS256":                  "secret",
		"jwt,sign-method=ES256,ttl=soon":         "not a duration",
		"jwt,sign-method=ES256,ttl=-1m":          "above zero",
		"jwt,sign-method=ES256,priv-key=/x":      "no such file",
		"jwt,sign-method=RS256,priv-key=" + ec:   "priv-key",
		"jwt,sign-method=RS256,pub-key=" + other: "pub-key",
		"jwt,sign-method=ES256,priv-key=" + ec + ",pub-key=" + other: "belong together",
	} {
		if err := CheckToken(value); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--auth-token") {
			t.Errorf("%q: %v, want to read of %q", value, err, want)
		}
	}
	for _, o := range []Options{{BcryptCost: 3}, {BcryptCost: 32}, {Token: "x"}} {
		if o.Validate() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}

// storeBackend is a store without a member, for what knows tokens.
type storeBackend struct {
	Backend
	store *kv.Store
}

func newStore(t testing.TB) *kv.Store {
	store, err := kv.Open(kv.Options{Dir: "kv", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func (b storeBackend) Auth() *kv.AuthState { return b.store.Auth() }

func (b storeBackend) UseAuthToken(token string, ttl time.Duration) (string, bool) {
	return b.store.UseAuthToken(token, ttl)
}

// FuzzAuthToken: no value of --auth-token, and no token, gets further than to an error.
func FuzzAuthToken(f *testing.F) {
	private, _ := keyFiles(f, makeKey[*ecdsa.PrivateKey](f)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	clock := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	signed := mustTokens(f, "jwt,sign-method=ES256,priv-key="+private, clock)
	assigned := &assignedTokens{store: storeBackend{store: newStore(f)}, ttl: time.Minute}
	good, err := signed.issue(f.Context(), "alice", 7)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "simple", "jwt,sign-method=ES256,ttl=1m", "jwt,sign-method=HS256,priv-key=/dev/null", good, good[:len(good)-3], "a.b.c", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := parseAuthToken(s); err == nil && o.kind != simpleTokens && o.kind != jwtTokens {
			t.Errorf("%q is %+v", s, o)
		}
		if c, ok := signed.caller(s, nil); ok && s != good && c.User != "alice" {
			t.Errorf("%q is a token of %+v", s, c)
		}
		if c, ok := assigned.caller(s, assigned.store.Auth()); ok {
			t.Errorf("%q is a token of %+v", s, c)
		}
	})
}
