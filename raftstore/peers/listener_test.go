package peers

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

// logLines are what was logged.
type logLines chan string

func (l logLines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// TestRejectedPeerIsLogged: a caller at the peer port whose certificates don't fit is told of, in etcd's words; one that only
// connects isn't.
func TestRejectedPeerIsLogged(t *testing.T) {
	donor := httptest.NewTLSServer(nil) // for the certificate that the standard library has for tests
	donor.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logged := make(logLines, 100)
	l := NewListener(listener, &tls.Config{Certificates: donor.TLS.Certificates}, nil, slog.New(slog.NewTextHandler(logged, nil)))
	defer l.Close()
	check, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Fatal("the caller trusts a certificate that it does not know", conn.Close())
	}
	line := <-logged
	for _, want := range []string{"level=WARN", `msg="rejected connection on peer endpoint" remote-addr=127.0.0.1:`, "bad certificate"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %s", want, line)
		}
	}
	l.Close() // then both are done with
	select {
	case line := <-logged:
		t.Errorf("logged too: %s", line)
	default:
	}
}
