package master

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// boundListener is a listener with what it was asked to be.
type boundListener struct {
	net.Listener
	Listen
}

// bind listens on an address.
func bind(l Listen) (boundListener, error) {
	address := l.Address
	if l.Network == "unix" {
		address = pki.SocketAddress(l.Address)
	}
	listen := raftstore.Listen
	if l.Shared {
		listen = raftstore.ListenShared
	}
	listener, err := listen(address)
	return boundListener{listener, l}, err
}

// bindAll listens on all addresses, or on none.
func bindAll(what string, listens []Listen) (bound []boundListener, err error) {
	for _, l := range listens {
		b, err := bind(l)
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

// clientListens are where clients are served.
func (c *Config) clientListens() []Listen {
	if len(c.ClientListen) > 0 {
		return c.ClientListen
	}
	return []Listen{{Network: "tcp", Address: c.ClientAddr, TLS: !c.KVInsecure}}
}

// ListenClients has p serve, until it is closed, where the master's clients will be served, over the same TLS. It is for a master
// that has only the store and whose certificates are given.
func (c *Config) ListenClients(p *port.Port) error {
	listeners, err := bindAll("client", c.clientListens())
	if err != nil {
		return err
	}
	return serveOn(p, listeners, c.ClientTLS)
}

// tlsOf is the configuration of one listener: none where it is in plain text.
func tlsOf(l boundListener, config *tls.Config) (*tls.Config, error) {
	if !l.TLS {
		return nil, nil
	}
	if config == nil {
		return nil, errors.New("there is no certificate to serve " + l.Address + " with")
	}
	return config, nil
}

// serveOn has the port serve on all listeners.
func serveOn(p *port.Port, listeners []boundListener, config *tls.Config) error {
	for _, l := range listeners {
		secured, err := tlsOf(l, config)
		if err != nil {
			return err
		}
		p.Listen(l.Listener, secured, l.Plain, l.Kind)
	}
	return nil
}
