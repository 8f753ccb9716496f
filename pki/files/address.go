package files

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
)

// checkAddress refuses a member's certificate that names addresses or hosts, and not the one that the member calls
// from: as etcd does between its members. One that names none may be used anywhere.
func checkAddress(ctx context.Context, state tls.ConnectionState, from net.Addr) error {
	if _, socket := from.(*net.UnixAddr); socket || len(state.PeerCertificates) == 0 {
		return nil // a socket is called by this machine's user alone
	}
	return checkCaller(ctx, net.DefaultResolver, state.PeerCertificates[0], from.String())
}

func checkCaller(ctx context.Context, names resolver, cert *x509.Certificate, from string) error {
	if len(cert.IPAddresses) == 0 && len(cert.DNSNames) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		return err
	}
	err = cert.VerifyHostname(host)
	if err == nil || resolvesTo(ctx, names, cert.DNSNames, host) {
		return nil
	}
	return fmt.Errorf("%w, and the caller's address is that: add it to the certificate of %q, which is for %v %v, or skip the check with --peer-skip-client-san-verification",
		err, cert.Subject, cert.IPAddresses, cert.DNSNames)
}

// resolvesTo tells whether one of the names is the address's: a plain name by its addresses, a wildcard by the
// address's own name.
func resolvesTo(ctx context.Context, names resolver, certificate []string, address string) bool {
	own, _ := names.LookupAddr(ctx, address) // an address without a name is an ordinary thing
	for _, name := range certificate {
		suffix, wildcard := strings.CutPrefix(name, "*")
		for _, mine := range own {
			mine = strings.TrimSuffix(mine, ".")
			if mine == name || wildcard && strings.HasSuffix(mine, suffix) {
				return true
			}
		}
		if wildcard {
			continue
		}
		if addresses, err := names.LookupHost(ctx, name); err == nil && slices.Contains(addresses, address) {
			return true
		}
	}
	return false
}
