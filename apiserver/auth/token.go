package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/clock"
)

// TokenHash is the SHA-256 of a bearer token: all that is ever kept of one.
type TokenHash [sha256.Size]byte

// HashToken hashes a bearer token.
func HashToken(token string) TokenHash { return sha256.Sum256([]byte(token)) }

// NewToken makes a bearer token from 32 random bytes.
func NewToken() string {
	var secret [32]byte
	rand.Read(secret[:])
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

// Token is what is known of a bearer token.
type Token struct {
	Hash TokenHash
	User User
	// Expires is when the token ends; the zero time means never.
	Expires time.Time
}

// TokenLookup finds tokens by their hash. What the search gives away by its duration is a hash's
// beginning, which is of no use to a guesser of tokens.
type TokenLookup interface {
	// LookupToken finds a token; ok is false when there is none.
	LookupToken(ctx context.Context, hash TokenHash) (token Token, ok bool, err error)
}

// Tokens authenticates by bearer token.
type Tokens struct {
	Lookup TokenLookup
	Clock  clock.PassiveClock
}

var errUnknownToken = errors.New("the bearer token is not known")

// Authenticate implements Authenticator.
func (t Tokens) Authenticate(ctx context.Context, creds Credentials) (User, bool, error) {
	if creds.Bearer == "" {
		return User{}, false, nil
	}
	hash := HashToken(creds.Bearer)
	token, ok, err := t.Lookup.LookupToken(ctx, hash)
	if err != nil {
		return User{}, false, fmt.Errorf("look up the bearer token: %w", err)
	}
	if !ok || subtle.ConstantTimeCompare(hash[:], token.Hash[:]) != 1 {
		return User{}, false, errUnknownToken
	}
	if !token.Expires.IsZero() && !t.Clock.Now().Before(token.Expires) {
		return User{}, false, fmt.Errorf("the bearer token of %q expired at %s", token.User.Name, token.Expires.UTC())
	}
	return token.User, true, nil
}
