package bench

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// tls is the TLS configuration that the flags give, nil for plain text.
func (s *session) tls() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" && s.keyFile == "" {
		for _, e := range slices.Concat(s.options.Endpoints, strings.Split(s.against, ",")) {
			if strings.HasPrefix(e, "https://") {
				return nil, fmt.Errorf("endpoint %s asks for TLS: give --cacert, --cert and --key", e)
			}
		}
		return nil, nil
	}
	if s.caFile == "" || s.certFile == "" || s.keyFile == "" {
		return nil, errors.New("--cacert, --cert and --key go together")
	}
	ca, err := os.ReadFile(s.caFile)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("CA certificate: no certificate in %s", s.caFile)
	}
	cert, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}
