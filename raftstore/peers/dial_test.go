package peers

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinksBetweenMembersEnd: a connection to a machine that acknowledges nothing is given up, whoever began it.
func TestLinksBetweenMembersEnd(t *testing.T) {
	bound := func(conn net.Conn) (timeout int) {
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			timeout, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		})
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		return timeout
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := dialMember(listener.Addr().String(), netip.MustParseAddr("127.0.0.2"))(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if from := accepted.RemoteAddr().(*net.TCPAddr).IP.String(); from != "127.0.0.2" {
		t.Errorf("dialled from %s", from)
	}
	if err := boundAccepted(accepted); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"dialled": dialled, "accepted": accepted} {
		if got := bound(conn); got != int(linkTimeout.Milliseconds()) {
			t.Errorf("a connection that was %s ends after %d ms", name, got)
		}
	}
	dial, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer dial.Close()
	socket, err := dialMember("unix://"+dial.Addr().String(), netip.MustParseAddr("127.0.0.2"))(t.Context(), "")
	if err != nil {
		t.Fatalf("a socket, which has no such bound: %v", err)
	}
	defer socket.Close()
}
