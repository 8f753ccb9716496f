package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/pki"
)

// Listen opens a port, or for unix://path a socket (see pki.PeerNetwork), and says what to do when it is taken.
func Listen(address string) (net.Listener, error) { return listen(address, net.ListenConfig{}) }

// ListenShared opens a port that other processes may have open in the same way (SO_REUSEPORT).
func ListenShared(address string) (net.Listener, error) {
	return listen(address, net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var failed error
		err := socket.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}})
}

func listen(address string, config net.ListenConfig) (net.Listener, error) {
	if network, path := pki.PeerNetwork(address); network == "unix" {
		return listenOnSocket(path)
	}
	listener, err := config.Listen(context.Background(), "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s is taken: stop the process that has it, or choose another address: %w", address, err)
	}
	return listener, err
}

// maxSocketPath is what the kernel has room for.
const maxSocketPath = 107

// listenOnSocket makes a socket that only this user can call. What a process that was killed left behind is in the way; one that
// lives is not to be pushed aside.
func listenOnSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of a socket has at most %d bytes, and %s has %d: choose a shorter one", maxSocketPath, path, len(path))
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s is taken: stop the process that has it, or choose another path", path)
	}
	switch info, err := os.Lstat(path); {
	case err != nil: // listening tells, unless there is just nothing
	case info.Mode().Type() == fs.ModeSocket:
		_ = os.Remove(path) // listening tells when that failed
	default:
		return nil, fmt.Errorf("%s is there, and is no socket: choose another path", path)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// listenAll opens several ports, whose connections are accepted as if they were of the first.
func listenAll(addresses []string, listen func(string) (net.Listener, error)) (net.Listener, error) {
	all := &listeners{conns: make(chan net.Conn), errs: make(chan error), done: make(chan struct{})}
	for _, address := range addresses {
		listener, err := listen(address)
		if err != nil {
			_ = all.Close()
			return nil, err
		}
		all.ports = append(all.ports, listener)
	}
	if len(all.ports) == 1 {
		return all.ports[0], nil
	}
	for _, port := range all.ports {
		all.wg.Go(func() { all.accept(port) })
	}
	return all, nil
}

// listeners are several, as one.
type listeners struct {
	ports []net.Listener
	conns chan net.Conn
	errs  chan error
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func (l *listeners) accept(port net.Listener) {
	for {
		conn, err := port.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// The caller waits a little before it accepts again, and this goroutine with it.
			select {
			case l.errs <- err:
				continue
			case <-l.done:
				return
			}
		}
		select {
		case l.conns <- conn:
		case <-l.done:
			_ = conn.Close()
			return
		}
	}
}

// Accept implements net.Listener.
func (l *listeners) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It returns once nothing of the listeners runs.
func (l *listeners) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		for _, port := range l.ports {
			err = errors.Join(err, port.Close())
		}
		l.wg.Wait()
	})
	return err
}

// Addr implements net.Listener: the first one's.
func (l *listeners) Addr() net.Addr { return l.ports[0].Addr() }
