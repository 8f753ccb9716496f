package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// askTimeout bounds one attempt to have one master answer.
const askTimeout = 5 * time.Second

// Refresh asks a master how the cluster is reached, and keeps the answer. changed tells that it is news.
func (e *Enrolment) Refresh(ctx context.Context) (changed bool, err error) {
	g, err := e.ask(ctx, nodeQuestion{})
	if err != nil {
		return false, err
	}
	return e.learn(g.Answer)
}

// Renew has a master sign new certificates for new keys, stores them, and has new connections use them.
func (e *Enrolment) Renew(ctx context.Context) error {
	if err := e.Ended(time.Now()); err != nil {
		return err
	}
	question := nodeQuestion{Hosts: e.Hosts}
	if len(e.Hosts) == 0 {
		question.Hosts = servingHosts(e.Serving.Certificate().Leaf)
	}
	var clientKey, servingKey []byte
	var err error
	if clientKey, question.Request, err = NewRequest(); err != nil {
		return err
	}
	if servingKey, question.ServingRequest, err = NewRequest(); err != nil {
		return err
	}
	g, err := e.ask(ctx, question)
	if err != nil {
		return err
	}
	for what, pair := range map[string][2][]byte{"certificate": {g.Cert, clientKey}, "serving certificate": {g.ServingCert, servingKey}} {
		if err := e.check(pair[0], pair[1]); err != nil {
			return fmt.Errorf("the granted %s: %w", what, err)
		}
	}
	// Each pair is whole at any moment, so that a crash between the two leaves a node that works.
	if err := e.Client.replace(e.dir, clientPair, g.Cert, clientKey); err != nil {
		return err
	}
	if err := e.Serving.replace(e.dir, servingPair, g.ServingCert, servingKey); err != nil {
		return err
	}
	_, err = e.learn(g.Answer)
	return err
}

// Moved tells whether the node serves as something that its certificate does not name, such as a new address.
func (e *Enrolment) Moved() bool {
	cert := e.Serving.Certificate().Leaf
	return slices.ContainsFunc(e.Hosts, func(host string) bool { return cert.VerifyHostname(host) != nil })
}

// Renewal renews both of the node's certificates through its masters.
func (e *Enrolment) Renewal() Renewal {
	return Renewal{
		Certificates: []Certificate{{Kind: "node-client", Source: e.Client}, {Kind: "node-serving", Source: e.Serving}},
		Renew:        e.Renew,
	}
}

// Ended says that the node's certificate has ended: masters don't know it any more.
func (e *Enrolment) Ended(now time.Time) error {
	if end := e.Client.NotAfter(); now.After(end) {
		return fmt.Errorf("the certificate of node %s ended at %s, while no master could be asked for a new one: make a token on a master with 'ctlplane token create', and join again with it; what the node runs and holds stays",
			e.Name(), end.UTC().Format(time.RFC3339))
	}
	return nil
}

// check holds a granted certificate against what was asked for.
func (e *Enrolment) check(certPEM, keyPEM []byte) error {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return err
	}
	if err := pair.Leaf.CheckSignatureFrom(e.CA.cert); err != nil {
		return fmt.Errorf("it is not of this cluster's CA: %w", err)
	}
	if pair.Leaf.Subject.CommonName != nodePrefix+e.Name() {
		return fmt.Errorf("it is for %q", pair.Leaf.Subject)
	}
	return nil
}

// ask puts a question to one master after another, in an order of chance, until one answers. A refusal that no other
// master would think better of ends it.
func (e *Enrolment) ask(ctx context.Context, question nodeQuestion) (*grant, error) {
	question.Version = nodeVersion
	servers := e.servers()
	if len(servers) == 0 {
		return nil, errors.New("no master's address is known")
	}
	var failures []error
	for _, server := range servers {
		g, err := e.askOne(ctx, server, question)
		if err == nil {
			return g, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", server, err))
		var refused *JoinError
		if ctx.Err() != nil || errors.As(err, &refused) && refused.Code != JoinUnavailable {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// servers are the masters' API addresses in an order of chance, and last what the node was told to join.
func (e *Enrolment) servers() []string {
	var servers []string
	for _, member := range e.Members() {
		if member.APIAddress != "" {
			servers = append(servers, member.APIAddress)
		}
	}
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	if e.server != "" && !slices.Contains(servers, e.server) {
		servers = append(servers, e.server)
	}
	return servers
}

func (e *Enrolment) askOne(ctx context.Context, server string, question nodeQuestion) (*grant, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: Client(e.Client, e.CA, ProtocolNode)}
	conn, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := boundConn(ctx, conn, askTimeout)
	defer stop()
	if err := writeMessage(conn, question); err != nil {
		return nil, contextFirst(ctx, err)
	}
	var v verdict
	if err := readMessage(conn, &v); err != nil {
		return nil, contextFirst(ctx, err)
	}
	if v.Refusal != nil {
		return nil, v.Refusal
	}
	g := &grant{}
	if err := json.Unmarshal(v.Grant, g); err != nil {
		return nil, fmt.Errorf("the master's answer: %w", err)
	}
	return g, nil
}

// servingHosts are the names and addresses that a certificate serves as.
func servingHosts(cert *x509.Certificate) []string {
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
