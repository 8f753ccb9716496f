package pki

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Role is what a token lets a machine become.
type Role string

const (
	RoleMaster Role = "master"
	RoleNode   Role = "node"
)

const (
	// MinSecret is the least length of the shared master secret.
	MinSecret = 16

	tokenPrefix = "ctp."
	// stretchRounds makes guessing a people-made secret slow for whoever watched a handshake with
	// a server of his own. Derived once a process, it costs tens of milliseconds.
	stretchRounds = 200_000
	keySize       = 32
)

// Token is what a joining machine proves that it knows. Two forms exist: a bare secret, shared by all
// masters, and a created token, "ctp.<CA hash>.<id>.<secret>", which names the authority that the joiner
// must find. The zero Token is not valid.
type Token struct {
	caHash string // empty in a bare secret
	id     string // empty in a bare secret
	secret string
}

// ParseToken reads either form. Its errors never quote the token.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, tokenPrefix) {
		if len(text) < MinSecret {
			return Token{}, fmt.Errorf("the token has %d characters, at least %d are needed", len(text), MinSecret)
		}
		return Token{secret: text}, nil
	}
	parts := strings.Split(strings.TrimPrefix(text, tokenPrefix), ".")
	if len(parts) != 3 || parts[1] == "" || len(parts[2]) < MinSecret {
		return Token{}, errors.New("the token is incomplete: copy all of it, from \"ctp.\" to its end")
	}
	if sum, err := hex.DecodeString(parts[0]); err != nil || len(sum) != sha256.Size {
		return Token{}, errors.New("the token's CA hash is damaged: copy the token again")
	}
	return Token{caHash: parts[0], id: parts[1], secret: parts[2]}, nil
}

// NewSecret makes a bare secret.
func NewSecret() string { return randomText(keySize) }

// NamedToken is a token under a name that both sides know, for any authority. The secret should not be guessable;
// where it is, so is who may join.
func NamedToken(id, secret string) Token { return Token{id: id, secret: secret} }

// Record is what a server that knows the token looks it up as.
func (t Token) Record(role Role) TokenRecord {
	return TokenRecord{ID: t.id, Role: role, Key: tokenKey(t.id, t.secret)}
}

// ID names a created token, and is empty for a bare secret.
func (t Token) ID() string { return t.id }

// String hides the secret, so that a token which strays into a log is harmless.
func (t Token) String() string {
	if t.id == "" {
		return "token (shared secret)"
	}
	return "token " + t.id
}

// Reveal is the token as ParseToken reads it: the secret itself.
func (t Token) Reveal() string {
	if t.id == "" {
		return t.secret
	}
	return tokenPrefix + t.caHash + "." + t.id + "." + t.secret
}

// key is what the handshake proves knowledge of. A created token's secret is random, so one hash does;
// a bare secret may be a sentence, and is stretched, salted with the authority that it is used with.
func (t Token) key(caHash string) ([]byte, error) {
	if t.id != "" {
		return tokenKey(t.id, t.secret), nil
	}
	key, err := pbkdf2.Key(sha256.New, t.secret, []byte("ctlplane join "+caHash), stretchRounds, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive the token's key: %w", err)
	}
	return key, nil
}

func tokenKey(id, secret string) []byte {
	sum := sha256.Sum256([]byte("ctlplane token " + id + " " + secret))
	return sum[:]
}

// TokenRecord is what the cluster keeps of a created token: enough to check it, not to print it again.
type TokenRecord struct {
	ID          string
	Role        Role
	Key         []byte // a hash of the secret
	Description string
	Created     time.Time
	Expires     time.Time // zero: never
}

// Expired tells whether the token no longer lets anyone in.
func (r TokenRecord) Expired(now time.Time) bool {
	return !r.Expires.IsZero() && !now.Before(r.Expires)
}

// NewToken makes a token for machines of a role. A ttl of zero never expires.
func NewToken(role Role, caHash string, ttl time.Duration, now time.Time) (Token, TokenRecord) {
	token := Token{caHash: caHash, id: randomText(5), secret: randomText(20)}
	record := TokenRecord{ID: token.id, Role: role, Key: tokenKey(token.id, token.secret), Created: now}
	if ttl > 0 {
		record.Expires = now.Add(ttl)
	}
	return token, record
}

// TokenStore keeps created tokens. LookupToken answers ok=false for one that is not there.
type TokenStore interface {
	CreateToken(ctx context.Context, record TokenRecord) error
	DeleteToken(ctx context.Context, id string) error
	ListTokens(ctx context.Context) ([]TokenRecord, error)
	LookupToken(ctx context.Context, id string) (record TokenRecord, ok bool, err error)
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// randomText is n random bytes in letters and digits that a person can read out.
func randomText(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails: the runtime ends the process instead
	return lowerBase32.EncodeToString(raw)
}
