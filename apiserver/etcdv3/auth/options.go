package auth

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/crypto/bcrypt"
	"k8s.io/utils/clock"
)

// Options say how users prove who they are. The zero value is fit for use.
type Options struct {
	Logger *slog.Logger       // nil: nothing is logged
	Clock  clock.PassiveClock // nil: the real one
	// Token is what users get for their passwords, the value of etcd's --auth-token: "simple", which empty is too, or "jwt"
	// with options.
	Token string
	// TokenTTL is how long a simple token is good for after its last use; 0 is DefaultTokenTTL.
	TokenTTL time.Duration
	// BcryptCost is the work for the hash of one password, as a power of two from 4 to 31; 0 is DefaultBcryptCost.
	BcryptCost int
	// ClientCertAuth makes the common name of a client's certificate a user's name, for calls without a token.
	ClientCertAuth bool
	// AdminCertificates lets certificates of the cluster's administrators and masters do everything, as user root.
	AdminCertificates bool
}

// Validate tells what is wrong with the options. The files that Token names are read for it.
func (o Options) Validate() error {
	if o.BcryptCost != 0 && (o.BcryptCost < bcrypt.MinCost || o.BcryptCost > bcrypt.MaxCost) {
		return fmt.Errorf("--bcrypt-cost: %d is not from %d to %d", o.BcryptCost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	return CheckToken(o.Token)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.BcryptCost == 0 {
		o.BcryptCost = DefaultBcryptCost
	}
	return o
}
