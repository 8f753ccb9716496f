package auth

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/utils/clock"
)

// Certificates authenticates by TLS client certificate: common name is the user's name, organizations
// are the groups.
//
//  1. A certificate counts only if the TLS layer has verified it. The listener's tls.Config must say
//     tls.VerifyClientCertIfGiven or tls.RequireAndVerifyClientCert, with the cluster's CA in ClientCAs.
//  2. It is looked at again for every request: a long-lived connection ends with its certificate.
//  3. A caller without a certificate is nobody, not an error: it may show a token instead.
type Certificates struct {
	Clock clock.PassiveClock
}

// Authenticate implements Authenticator.
func (c Certificates) Authenticate(_ context.Context, creds Credentials) (User, bool, error) {
	if creds.TLS == nil || len(creds.TLS.PeerCertificates) == 0 {
		return User{}, false, nil
	}
	subject := creds.TLS.PeerCertificates[0].Subject
	if len(creds.TLS.VerifiedChains) == 0 {
		return User{}, false, fmt.Errorf("client certificate of %q was not verified", subject.CommonName)
	}
	now := c.Clock.Now()
	for _, cert := range creds.TLS.VerifiedChains[0] {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return User{}, false, fmt.Errorf("client certificate of %q: %q is valid from %s to %s, and now is %s",
				subject.CommonName, cert.Subject.CommonName, cert.NotBefore, cert.NotAfter, now)
		}
	}
	if subject.CommonName == "" {
		return User{}, false, errors.New("client certificate names nobody: its common name is empty")
	}
	return User{Name: subject.CommonName, Groups: subject.Organization}, true, nil
}
