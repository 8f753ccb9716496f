package master

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/raftstore"
)

// boundListener is a place that is listened on.
type boundListener struct {
	net.Listener
	Listen
}

// bind takes a place.
func bind(l Listen) (boundListener, error) {
	if l.Network != "unix" {
		listen := raftstore.Listen
		if l.Shared {
			listen = raftstore.ListenShared
		}
		listener, err := listen(l.Address)
		return boundListener{listener, l}, err
	}
	// What a process that was killed left behind is in the way; one that lives is not to be pushed aside.
	if conn, err := net.Dial("unix", l.Address); err == nil {
		_ = conn.Close()
		return boundListener{}, fmt.Errorf("%s is taken: stop the process that has it, or choose another path", l.Address)
	}
	if info, err := os.Lstat(l.Address); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(l.Address) // listening tells when that failed
	}
	listener, err := net.Listen("unix", l.Address)
	if err == nil {
		err = os.Chmod(l.Address, 0o600)
	}
	return boundListener{listener, l}, err
}

// bindAll takes all places, or none.
func bindAll(what string, places []Listen) (bound []boundListener, err error) {
	for _, place := range places {
		b, err := bind(place)
		if err != nil {
			closeAll(bound)
			return nil, fmt.Errorf("%s port: %w", what, err)
		}
		bound = append(bound, b)
	}
	return bound, nil
}

func closeAll(listeners []boundListener) {
	for _, l := range listeners {
		_ = l.Close() // closed already where it served
	}
}

// clientPlaces are where clients are served.
func (c *Config) clientPlaces() []Listen {
	if len(c.ClientListen) > 0 {
		return c.ClientListen
	}
	return []Listen{{Network: "tcp", Address: c.ClientAddr, TLS: !c.KVInsecure}}
}

// ListenClients has p serve, until it is closed, where the master's clients will be served, over the same TLS. It is for a master
// that has only the store and whose certificates are given.
func (c *Config) ListenClients(p *port.Port) error {
	places, err := bindAll("client", c.clientPlaces())
	if err != nil {
		return err
	}
	return listenAt(p, places, c.ClientTLS)
}

// tlsOf is the configuration of one place: none where it is in plain text.
func tlsOf(l boundListener, config *tls.Config) (*tls.Config, error) {
	if !l.TLS {
		return nil, nil
	}
	if config == nil {
		return nil, errors.New("there is no certificate to serve " + l.Address + " with")
	}
	return config, nil
}

// listenAt has the port serve all places.
func listenAt(p *port.Port, places []boundListener, config *tls.Config) error {
	for _, l := range places {
		secured, err := tlsOf(l, config)
		if err != nil {
			return err
		}
		p.Listen(l.Listener, secured, l.Plain, l.Kind)
	}
	return nil
}
