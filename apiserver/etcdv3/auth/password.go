package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"runtime"
	"sync"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
)

// DefaultBcryptCost is the work for one password, as a power of two: some tens of milliseconds.
const DefaultBcryptCost = bcrypt.DefaultCost

// passwords hashes and checks passwords. That is work by design, and who asks for it has not proved yet who he is: so only
// half of the processors do it at a time, and what comes on top waits.
type passwords struct {
	cost    int
	working *semaphore.Weighted
	// unknown is the hash that the passwords of users who don't exist are compared with: it must not take a shorter time.
	unknown func() []byte
}

func newPasswords(cost int) *passwords {
	return &passwords{
		cost:    cost,
		working: semaphore.NewWeighted(int64(max(runtime.GOMAXPROCS(0)/2, 1))),
		unknown: sync.OnceValue(func() []byte {
			hash, err := bcrypt.GenerateFromPassword([]byte("nobody's"), cost)
			if err != nil {
				panic(err) // the cost was checked
			}
			return hash
		}),
	}
}

// hash returns what stands for a password in a command: its bcrypt hash in base64.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.working.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer p.working.Release(1)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return "", status.Error(codes.InvalidArgument, "etcdserver: the password is too long: 72 bytes are the most")
	}
	return base64.StdEncoding.EncodeToString(hash), err
}

// check tells whether a password is that of a user.
func (p *passwords) check(ctx context.Context, auth *kv.AuthState, name, password string) error {
	if err := p.working.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.working.Release(1)
	u := auth.User(name)
	if u == nil || u.GetOptions().GetNoPassword() {
		_ = bcrypt.CompareHashAndPassword(p.unknown(), []byte(password))
		return kv.ErrAuthFailed
	}
	if bcrypt.CompareHashAndPassword(u.Password, []byte(password)) != nil {
		return kv.ErrAuthFailed
	}
	return nil
}
