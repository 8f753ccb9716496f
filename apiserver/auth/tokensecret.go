package auth

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SecretTypeToken is the type of the Secrets in kube-system that each keep one bearer token's hash.
// Whoever may create such a Secret can make itself any user.
const SecretTypeToken corev1.SecretType = "ctlplane.io/bearer-token"

// Keys in the data of a token's Secret.
const (
	tokenHashKey    = "hash"
	tokenUserKey    = "user"
	tokenUIDKey     = "uid"
	tokenGroupsKey  = "groups"
	tokenExpiresKey = "expires"
)

// NewTokenSecret is the Secret that makes a token valid until expires (zero: for good). It holds the
// token's hash, so that whoever reads it can't use the token.
func NewTokenSecret(token string, user User, expires time.Time) *corev1.Secret {
	hash := HashToken(token)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: tokenSecretName(hash)},
		Type:       SecretTypeToken,
		Data: map[string][]byte{
			tokenHashKey:   []byte(hex.EncodeToString(hash[:])),
			tokenUserKey:   []byte(user.Name),
			tokenUIDKey:    []byte(user.UID),
			tokenGroupsKey: []byte(strings.Join(user.Groups, ",")),
		},
	}
	if !expires.IsZero() {
		secret.Data[tokenExpiresKey] = []byte(expires.UTC().Format(time.RFC3339))
	}
	return secret
}

func tokenSecretName(hash TokenHash) string { return "token-" + hex.EncodeToString(hash[:8]) }

// SecretTokens looks tokens up in Secrets. Get reads one Secret, and gives nil when there is none;
// in the API server it reads the registry's cache, before and without any user.
type SecretTokens struct {
	Get func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// LookupToken implements TokenLookup.
func (s SecretTokens) LookupToken(ctx context.Context, hash TokenHash) (Token, bool, error) {
	secret, err := s.Get(ctx, metav1.NamespaceSystem, tokenSecretName(hash))
	if err != nil || secret == nil || secret.Type != SecretTypeToken {
		return Token{}, false, err
	}
	token := Token{User: User{Name: string(secret.Data[tokenUserKey]), UID: string(secret.Data[tokenUIDKey])}}
	if n, err := hex.Decode(token.Hash[:], secret.Data[tokenHashKey]); err != nil || n != len(token.Hash) {
		return Token{}, false, fmt.Errorf("secret %s/%s: %q is not a SHA-256 in hexadecimal", secret.Namespace, secret.Name, tokenHashKey)
	}
	if groups := string(secret.Data[tokenGroupsKey]); groups != "" {
		token.User.Groups = strings.Split(groups, ",")
	}
	if expires := string(secret.Data[tokenExpiresKey]); expires != "" {
		if token.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
			return Token{}, false, fmt.Errorf("secret %s/%s: %q: %w", secret.Namespace, secret.Name, tokenExpiresKey, err)
		}
	}
	return token, token.User.Name != "", nil
}
