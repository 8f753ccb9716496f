package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/kv"
)

// The options of signed tokens, as etcd calls them.
const (
	jwtSignMethod = "sign-method"
	jwtPublicKey  = "pub-key"
	jwtPrivateKey = "priv-key"
	jwtTTL        = "ttl"
)

var jwtOptions = []string{jwtSignMethod, jwtPublicKey, jwtPrivateKey, jwtTTL}

// signedTokens are JSON web tokens with etcd's claims, so that those of one are good for the other: who has the key can check
// them, and nothing has to be remembered. Each is of one revision of users and roles, and good for no later one.
type signedTokens struct {
	method jwt.SigningMethod
	sign   any // nil: they are only checked here, and made elsewhere
	verify any
	ttl    time.Duration
	clock  clock.PassiveClock
}

// claims are etcd's.
type claims struct {
	Username string `json:"username"`
	Revision uint64 `json:"revision"`
	jwt.RegisteredClaims
}

func newSignedTokens(options map[string]string, c clock.PassiveClock) (*signedTokens, error) {
	t := &signedTokens{method: jwt.GetSigningMethod(options[jwtSignMethod]), ttl: DefaultTokenTTL, clock: c}
	if t.method == nil {
		return nil, fmt.Errorf("--auth-token: jwt with the %s %q, which is not known: give one such as RS256, PS256, ES256, EdDSA or HS256",
			jwtSignMethod, options[jwtSignMethod])
	}
	if value := options[jwtTTL]; value != "" {
		ttl, err := time.ParseDuration(value)
		if err != nil || ttl <= 0 {
			return nil, fmt.Errorf("--auth-token: %s=%s is not a duration above zero, such as 10m", jwtTTL, value)
		}
		t.ttl = ttl
	}
	private, err := readKey(options[jwtPrivateKey])
	if err != nil {
		return nil, err
	}
	public, err := readKey(options[jwtPublicKey])
	if err != nil {
		return nil, err
	}
	if err := t.setKeys(private, public); err != nil {
		return nil, fmt.Errorf("--auth-token: the keys for %s: %w", t.method.Alg(), err)
	}
	return t, nil
}

func readKey(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--auth-token: %w", err)
	}
	return key, nil
}

// setKeys takes keys of the method's kind. Any but a secret one may be the public half alone.
func (t *signedTokens) setKeys(private, public []byte) error {
	switch t.method.(type) {
	case *jwt.SigningMethodHMAC:
		if len(private) == 0 {
			return errors.New(jwtPrivateKey + " must name the file of the secret")
		}
		t.sign, t.verify = private, private
		return nil
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return setKeyPair(t, private, public, jwt.ParseRSAPrivateKeyFromPEM, jwt.ParseRSAPublicKeyFromPEM)
	case *jwt.SigningMethodECDSA:
		return setKeyPair(t, private, public, jwt.ParseECPrivateKeyFromPEM, jwt.ParseECPublicKeyFromPEM)
	case *jwt.SigningMethodEd25519:
		return setKeyPair(t, private, public, jwt.ParseEdPrivateKeyFromPEM, jwt.ParseEdPublicKeyFromPEM)
	}
	return errors.New("this method does not sign")
}

func setKeyPair[Private, Public any](t *signedTokens, private, public []byte, parsePrivate func([]byte) (Private, error), parsePublic func([]byte) (Public, error)) error {
	if len(public) > 0 {
		key, err := parsePublic(public)
		if err != nil {
			return fmt.Errorf("%s: %w", jwtPublicKey, err)
		}
		t.verify = key
	}
	if len(private) == 0 {
		if t.verify == nil {
			return fmt.Errorf("give %s, or %s to check tokens that are made elsewhere", jwtPrivateKey, jwtPublicKey)
		}
		return nil
	}
	key, err := parsePrivate(private)
	if err != nil {
		return fmt.Errorf("%s: %w", jwtPrivateKey, err)
	}
	signer, ok := any(key).(crypto.Signer)
	if !ok {
		return fmt.Errorf("%s: a key that does not sign", jwtPrivateKey)
	}
	own := signer.Public()
	if given, ok := t.verify.(interface{ Equal(crypto.PublicKey) bool }); ok && !given.Equal(own) {
		return fmt.Errorf("%s and %s don't belong together", jwtPrivateKey, jwtPublicKey)
	}
	t.sign, t.verify = key, own
	return nil
}

var errCannotSign = errors.New("this member can only check tokens, for it has no " + jwtPrivateKey + ": get one where they are made")

func (t *signedTokens) issue(_ context.Context, user string, revision uint64) (string, error) {
	if t.sign == nil {
		return "", errCannotSign
	}
	return jwt.NewWithClaims(t.method, claims{
		Username: user, Revision: revision,
		RegisteredClaims: jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(t.clock.Now().Add(t.ttl))},
	}).SignedString(t.sign)
}

func (t *signedTokens) caller(token string, _ *kv.AuthState) (*kv.Caller, bool) {
	var c claims
	parsed, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.verify, nil },
		jwt.WithValidMethods([]string{t.method.Alg()}), jwt.WithTimeFunc(t.clock.Now))
	if err != nil || !parsed.Valid || c.Username == "" || c.Revision == 0 {
		return nil, false
	}
	return &kv.Caller{User: c.Username, AuthRevision: c.Revision}, true
}
