package pki

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A node that was let in asks its masters, over ProtocolNode, how the cluster is reached and, with new keys of its own, for
// new certificates. One connection is one question and its answer. These invariants hold:
//
//  1. Who asks is the node that its certificate names, which TLS has verified and which has not ended. Nothing in the
//     question says otherwise.
//  2. What is granted is what a node gets that joins under that name: no other name and no other role.
//  3. Private keys stay on the node.

const nodeVersion = 1

// nodeQuestion is what a node asks. Without signing requests it asks how the cluster is reached, no more.
type nodeQuestion struct {
	Version int `json:"version"`
	// Hosts are the names and addresses that the node wants to serve as.
	Hosts          []string `json:"hosts,omitempty"`
	Request        []byte   `json:"csr,omitempty"`
	ServingRequest []byte   `json:"servingCsr,omitempty"`
}

// ServeNode answers one question, on a connection that negotiated ProtocolNode, and closes it.
func (s *JoinServer) ServeNode(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	stop := boundConn(ctx, conn, acceptTimeout)
	defer stop()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-time.After(proveTimeout): // all nodes may ask at once; each has proved who it is
		return
	case <-ctx.Done():
		return
	}
	name, err := nodeOf(conn.ConnectionState())
	if err == nil {
		err = s.answerNode(ctx, conn, name)
	}
	if err != nil {
		s.logger.Debug("a node's question failed", "node", name, "from", conn.RemoteAddr(), "error", err)
	}
}

func (s *JoinServer) answerNode(ctx context.Context, conn *tls.Conn, name string) error {
	var question nodeQuestion
	if err := readMessage(conn, &question); err != nil {
		return err
	}
	if question.Version != nodeVersion {
		return s.refuse(conn, Refuse(JoinRefused, "the node speaks version %d of the nodes' protocol, this master %d: run the same release on both", question.Version, nodeVersion))
	}
	g := grant{}
	request := JoinRequest{Name: name, Hosts: question.Hosts, Request: question.Request, ServingRequest: question.ServingRequest}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	var err error
	if len(request.Request) == 0 {
		g.Answer, err = s.acceptor.AcceptNode(ctx, request, conn.RemoteAddr())
	} else if err = s.grantNode(ctx, conn.RemoteAddr(), request, &g); err == nil {
		s.logger.Info("renewed a node's certificates", "node", name)
	}
	if err != nil {
		return s.refuse(conn, err)
	}
	content, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return writeMessage(conn, verdict{Grant: content})
}

// nodeOf is the node that a verified connection is of.
func nodeOf(state tls.ConnectionState) (string, error) {
	if len(state.VerifiedChains) == 0 {
		return "", errors.New("no verified certificate")
	}
	subject := state.VerifiedChains[0][0].Subject
	name, ok := strings.CutPrefix(subject.CommonName, nodePrefix)
	if !ok || !slices.Contains(subject.Organization, NodesOrganization) {
		return "", fmt.Errorf("certificate of %q is no node's", subject)
	}
	return name, ValidateName(name)
}
