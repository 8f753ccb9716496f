package peers

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/pki"
)

// linkTimeout is how long what was sent to another member may go without an acknowledgement of that member's machine before the
// connection ends. The kernel's own bound is a quarter of an hour, and it sends again ever more rarely: after a link was lost for
// a minute, a connection that has outlived that would pass nothing for another. etcd's is as long.
const linkTimeout = 5 * time.Second

// boundLink gives a TCP connection, or a socket that is to become one, the bound.
func boundLink(network string, socket syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := socket.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(linkTimeout.Milliseconds()))
	})
	return errors.Join(err, failed)
}

// boundAccepted is boundLink for a connection that was accepted.
func boundAccepted(conn net.Conn) error {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return boundLink(conn.LocalAddr().Network(), raw)
}

// Dialer dials other members over a network, from an address of this machine, if that is not the zero one. control, if not nil,
// comes before each connection.
func Dialer(network string, from netip.Addr, control func(network, address string, socket syscall.RawConn) error) net.Dialer {
	dialer := net.Dialer{Control: func(network, address string, socket syscall.RawConn) error {
		if control != nil {
			if err := control(network, address, socket); err != nil {
				return err
			}
		}
		return boundLink(network, socket)
	}}
	if from.IsValid() && network == "tcp" {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return dialer
}

// dialMember dials another member for gRPC, which secures the connection itself.
func dialMember(address string, from netip.Addr) func(context.Context, string) (net.Conn, error) {
	network, at := pki.PeerNetwork(address)
	dialer := Dialer(network, from, nil)
	return func(ctx context.Context, _ string) (net.Conn, error) { return dialer.DialContext(ctx, network, at) }
}
