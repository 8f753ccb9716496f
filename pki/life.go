package pki

import (
	"crypto/x509"
	"fmt"
	"time"
)

const (
	// DefaultLeafLife is how long an issued certificate is valid, unless the authority was told otherwise.
	DefaultLeafLife = 365 * 24 * time.Hour
	// MinLeafLife is the shortest life that leaves room for a renewal and its repetition.
	MinLeafLife = 10 * time.Second

	// clockSkew is how far a certificate's validity reaches back, at most, for machines whose clocks are behind.
	clockSkew = time.Hour
)

// CheckLeafLife says whether certificates can be issued for that long.
func CheckLeafLife(life time.Duration) error {
	if life < MinLeafLife || life > caLife/2 {
		return fmt.Errorf("a certificate can't live for %s: choose between %s and %s", life, MinLeafLife, caLife/2)
	}
	return nil
}

// backdate is how far the validity of a certificate of that life reaches back: an hour, and half of its life where that is
// less, so that a short life isn't mostly over when it begins. lifeOf is the reverse.
func backdate(life time.Duration) time.Duration { return min(clockSkew, life/2) }

// lifeOf is how long after its issue a certificate of ours ends, to the second.
func lifeOf(cert *x509.Certificate) time.Duration {
	valid := cert.NotAfter.Sub(cert.NotBefore)
	if valid >= 3*clockSkew {
		return valid - clockSkew
	}
	return valid * 2 / 3
}

// dueAt is when a certificate is to be renewed: at two thirds of its life, or up to a twelfth of it sooner. How much is
// drawn with its serial number, so that those that were issued together aren't all renewed at once.
func dueAt(cert *x509.Certificate) time.Time {
	life := lifeOf(cert)
	draw := time.Duration(cert.SerialNumber.Uint64() & 0xff)
	return cert.NotAfter.Add(-life/3 - life/12*draw/0x100)
}
