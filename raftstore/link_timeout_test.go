package raftstore

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinksBetweenMembersEnd: a connection to a machine that acknowledges nothing is given up, whoever began it.
func TestLinksBetweenMembersEnd(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	c.leader().put("key", "value")
	bound := func(conn net.Conn) (timeout int) {
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) { timeout, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
		if err != nil {
			t.Fatal(err)
		}
		return timeout
	}
	for _, m := range c.members {
		m.stream.mu.Lock()
		conns := len(m.stream.conns)
		for conn := range m.stream.conns {
			if got := bound(conn.Conn.(*tls.Conn).NetConn()); got != int(linkTimeout.Milliseconds()) {
				t.Errorf("%s: a connection that was accepted (%v) ends after %d ms", m.config.Identity.Name, conn.accepted, got)
			}
		}
		m.stream.mu.Unlock()
		if conns == 0 {
			t.Errorf("%s has no connection", m.config.Identity.Name)
		}
		address := m.config.Listener.Addr().String()
		conn, err := dialPeer(address)(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := bound(conn); got != int(linkTimeout.Milliseconds()) {
			t.Errorf("%s: a connection of gRPC ends after %d ms", m.config.Identity.Name, got)
		}
		_ = conn.Close()
	}
}
