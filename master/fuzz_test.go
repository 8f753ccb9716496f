package master

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/pki"
)

// FuzzPorts sends bytes to the ports of a master: to the client port in plain text, in place of a TLS handshake and within TLS, as an
// administrator, in either protocol; and to the peer port. Whatever they are, the master goes on, and nothing of them stays.
func FuzzPorts(f *testing.F) {
	for _, seed := range []string{
		"", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x00\xff\x00\xff",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"key\":\"Zm9v\"}  ", "POST /v3/kv/txn HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\"success",
		"POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{\"create_request\":{\"key\":\"\"}}\r\n",
		"GET /v3/watch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"GET /debug/pprof/profile HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	plainText, withTLS := startStore(f, plain), startStore(f, secured)
	admin := pki.AdminLeaf()
	adminTLS := withTLS.tls(&admin)
	raw := []string{plainText.config.ClientAddr, withTLS.config.ClientAddr, withTLS.config.PeerAddr, plainText.monitor}
	for _, r := range []*running{plainText, withTLS} { // what starts with the first call is no growth
		r.ask(r.client(&admin), http.MethodPost, r.url("/v3/kv/range"), `{"key":"Zm9v"}`)
	}
	before := runtime.NumGoroutine()
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, address := range raw {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			exchange(conn, content)
		}
		for _, protocol := range []string{"http/1.1", "h2"} {
			config := adminTLS.Clone()
			config.NextProtos = []string{protocol}
			conn, err := tls.Dial("tcp", withTLS.config.ClientAddr, config)
			if err != nil {
				t.Fatal(err)
			}
			exchange(conn, content)
		}
		for range time.Tick(time.Millisecond) {
			if runtime.NumGoroutine() <= before+goroutineNoise {
				return // otherwise the test's own deadline shows who is left
			}
		}
	})
}

// goroutineNoise is how many goroutines of the masters' own, and of the fuzzer's, come and go.
const goroutineNoise = 64

// exchange sends content and no more, takes a little of the answer, and hangs up.
func exchange(conn net.Conn, content []byte) {
	_, _ = conn.Write(content) // it may be refused at any byte
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // some requests are answered by streams
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
}
