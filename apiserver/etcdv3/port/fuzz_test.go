package port

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// FuzzPort sends a caller's bytes to the port, in plain text, in place of a TLS handshake, and within TLS as either protocol. Whatever
// they are, the port's goroutines end (its Close waits for them) and others are served.
func FuzzPort(f *testing.F) {
	for _, seed := range []string{
		"", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /v3/watch HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "PRI * HTTP/1.1\r\n\r\n",
		"POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "\x00\xff\x00\xff",
	} {
		f.Add([]byte(seed))
	}
	plain, secured := start(f, false, GRPCAndHTTP), start(f, true, GRPCAndHTTP)
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, address := range []string{plain.address, secured.address} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			send(conn, content)
		}
		for _, protocol := range []string{protocolHTTP1, protocolHTTP2, ""} {
			config := &tls.Config{RootCAs: secured.roots}
			if protocol != "" {
				config.NextProtos = []string{protocol}
			}
			conn, err := tls.Dial("tcp", secured.address, config)
			if err != nil {
				t.Fatal(err)
			}
			send(conn, content)
		}
		if got, err := plain.get(t); err != nil {
			t.Fatalf("others are not served any more: %q, %v", got, err)
		}
	})
}

// send writes content and waits until the server has done with the connection.
func send(conn net.Conn, content []byte) {
	_, _ = conn.Write(content) // it may be refused at any byte
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
}
