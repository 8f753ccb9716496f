package master

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
)

// TestAPIConnectionEndsBeforeItsCertificate makes requests with certificates that end soon, and later, on HTTP/1 and HTTP/2.
func TestAPIConnectionEndsBeforeItsCertificate(t *testing.T) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca = ca.WithLeafLife(10 * time.Hour)
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(renewingConnections(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/watch" {
			_, _ = io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			<-release
			_, _ = io.WriteString(w, " and ended")
		}
	})))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.Pool()}
	server.StartTLS()
	defer server.Close()
	for _, protocol := range []string{"h2", "http/1.1"} {
		for _, test := range []struct {
			age    time.Duration
			reused bool
		}{{0, true}, {8 * time.Hour, true}, {9*time.Hour + 30*time.Minute, false}} {
			cert, key, err := ca.IssuePair(pki.NodeLeaf("n1"), time.Now().Add(-test.age))
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{
				ForceAttemptHTTP2: protocol == "h2",
				TLSClientConfig: &tls.Config{
					RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com",
					Certificates: []tls.Certificate{pair}, NextProtos: []string{protocol},
				},
			}
			defer transport.CloseIdleConnections()
			get := func(path string) (response *http.Response, reused bool) {
				t.Helper()
				request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
				}), http.MethodGet, server.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if response, err = transport.RoundTrip(request); err != nil {
					t.Fatal(err)
				}
				return response, reused
			}
			read := func(response *http.Response) string {
				t.Helper()
				content, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil {
					t.Errorf("%s, certificate %v old: an answer was cut: %v", protocol, test.age, err)
				}
				return string(content)
			}
			watch, _ := get("/watch")
			if first, _ := get("/"); first.ProtoMajor != map[string]int{"h2": 2, "http/1.1": 1}[protocol] {
				t.Errorf("spoke %s, want %s", first.Proto, protocol)
			} else {
				read(first)
			}
			// The client learns of a connection's end at its own time: the requests until then are answered, too.
			deadline := time.Now().Add(60 * time.Second)
			for {
				response, reused := get("/")
				read(response)
				if reused == test.reused {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s, certificate %v old: the connection is used again: %v, want %v", protocol, test.age, reused, test.reused)
				}
			}
			release <- struct{}{}
			if got := read(watch); got != "begun and ended" {
				t.Errorf("%s, certificate %v old: what had begun got %q", protocol, test.age, got)
			}
		}
	}
}

// TestStoreConnectionsAreRenewed writes and watches on the client port over several ages of a connection: each new one shows
// the certificate anew, no write fails and the watch misses nothing.
func TestStoreConnectionsAreRenewed(t *testing.T) {
	r := startStore(t, func(c *Config) { c.KVInsecure, c.CertLifetime = false, 10*time.Second })
	leaf := pki.AdminLeaf()
	config := r.tls(&leaf)
	var shown atomic.Int32
	cert := config.Certificates[0]
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		shown.Add(1)
		return &cert, nil
	}
	conn, err := client.Connect(t.Context(), client.Config{Endpoints: []string{r.config.ClientAddr}, TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	events := conn.KV().Watch(ctx, "key", clientv3.WithRev(1))
	written, seen := 0, 0
	take := func(answer clientv3.WatchResponse) {
		t.Helper()
		if err := answer.Err(); err != nil {
			t.Fatal(err)
		}
		for _, event := range answer.Events {
			if string(event.Kv.Value) != fmt.Sprint(seen) {
				t.Fatalf("the watch shows %s, want %d", event.Kv.Value, seen)
			}
			seen++
		}
	}
	for shown.Load() < 3 {
		if _, err := conn.KV().Put(ctx, "key", fmt.Sprint(written)); err != nil {
			t.Fatalf("write %d, on connection %d: %v", written, shown.Load(), err)
		}
		written++
		take(<-events)
	}
	for seen < written {
		take(<-events)
	}
}
