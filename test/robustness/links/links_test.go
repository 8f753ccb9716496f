package links

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/bench/freeport"
)

// echo is a network of two members: this process, which is 0, and a server that echoes, which is 1.
func echo(t *testing.T) (*Net, string) {
	t.Helper()
	addresses, err := freeport.Addresses(3)
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.Listen("tcp", addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	n := New(func(port int) int { return Owner(port, []int{os.Getpid()}) })
	t.Cleanup(n.Close)
	for i, target := range []string{addresses[0], addresses[0]} {
		if err := n.Add(addresses[1+i], target); err != nil {
			t.Fatal(err)
		}
	}
	return n, addresses[2]
}

// say sends a line and returns what comes back within a time.
func say(c net.Conn, text string, within time.Duration) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	return hear(c, len(text), within)
}

func hear(c net.Conn, size int, within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	answer := make([]byte, size)
	n, err := io.ReadFull(c, answer)
	return string(answer[:n]), err
}

func TestLinkHoldsBackAndDeliversLate(t *testing.T) {
	for _, direction := range []pair{{0, 1}, {1, 0}} {
		n, address := echo(t)
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := say(c, "one", 5*time.Second); got != "one" {
			t.Fatalf("%q, %v", got, err)
		}
		n.Set(direction.from, direction.to, State{Held: true})
		if got, err := say(c, "two", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("held from %d to %d: %q, %v", direction.from, direction.to, got, err)
		}
		n.Set(direction.from, direction.to, State{})
		if got, err := hear(c, 3, 5*time.Second); got != "two" {
			t.Errorf("after it was held: %q, %v", got, err)
		}
	}
}

func TestLinkDelays(t *testing.T) {
	n, address := echo(t)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n.Set(0, 1, State{Delay: 50 * time.Millisecond})
	begun := time.Now()
	if got, err := say(c, "late", 5*time.Second); got != "late" || time.Since(begun) < 50*time.Millisecond {
		t.Errorf("%q after %v, %v", got, time.Since(begun), err)
	}
}

func TestConnectionsAreRefusedAndRejected(t *testing.T) {
	n, address := echo(t)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := say(c, "one", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	n.Refuse(1)
	if _, err := hear(c, 1, 5*time.Second); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("a connection to who refuses them: %v", err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if err := n.Accept(1); err != nil {
		t.Fatal(err)
	}
	n.Set(0, 1, State{Rejected: true})
	c, err = net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := hear(c, 1, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that is rejected: %v", err)
	}
}

func TestOwner(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		if c, err := server.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	c, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, text, _ := net.SplitHostPort(c.LocalAddr().String())
	port, _ := strconv.Atoi(text)
	if got := Owner(port, []int{0, 1, os.Getpid()}); got != 2 {
		t.Errorf("of a connection of this process: %d", got)
	}
	if got := Owner(1, []int{os.Getpid()}); got != -1 {
		t.Errorf("of no connection: %d", got)
	}
}
