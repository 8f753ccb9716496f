package pki

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// joinTimeout bounds one handshake from the joiner's side.
const joinTimeout = 30 * time.Second

// Joined is what a machine holds once it was let in. Store it with the methods of its parts.
type Joined struct {
	Answer JoinAnswer
	CA     *CA // with its key for a master
	// Secret is the masters' shared one; masters only.
	Secret Token
	// Cert and Key are the machine's certificate: a master's for its peers, a node's for the API server.
	Cert, Key []byte
	// ServingCert and ServingKey are a node's, for its own server.
	ServingCert, ServingKey []byte
}

// DialJoin connects to a server that serves the join protocol. Nothing is known of the server until Join
// returns without an error.
func DialJoin(ctx context.Context, address string) (*tls.Conn, error) {
	return DialJoinWith(ctx, net.Dialer{}, address, nil)
}

// DialJoinWith is DialJoin by a dialer, and with a configuration, if not nil, that proves the server by other means, too.
func DialJoinWith(ctx context.Context, by net.Dialer, address string, config *tls.Config) (*tls.Conn, error) {
	network, at := PeerNetwork(address)
	by.Timeout = joinTimeout
	dialer := tls.Dialer{NetDialer: &by, Config: PeerConfig(cmp.Or(config, joinClient()), address)}
	conn, err := dialer.DialContext(ctx, network, at)
	if err != nil {
		return nil, err
	}
	secured := conn.(*tls.Conn)
	if protocol := secured.ConnectionState().NegotiatedProtocol; protocol != ProtocolJoin {
		_ = secured.Close()
		return nil, fmt.Errorf("%s does not serve the join protocol: is it a ctlplane master's API or peer port?", address)
	}
	return secured, nil
}

// Join proves the token over a connection from DialJoin, has it proved in return, and takes what the
// cluster grants. A refusal is a *JoinError. The connection is the caller's to close.
func Join(ctx context.Context, conn *tls.Conn, token Token, role Role, request JoinRequest) (*Joined, error) {
	stop := boundConn(ctx, conn, joinTimeout)
	defer stop()

	joined := &Joined{}
	var err error
	if joined.Key, request.Request, err = NewRequest(); err != nil {
		return nil, err
	}
	if role == RoleNode {
		if joined.ServingKey, request.ServingRequest, err = NewRequest(); err != nil {
			return nil, err
		}
	}
	session, answer, caCert, err := converse(conn, token, role, request)
	if err != nil {
		return nil, contextFirst(ctx, err)
	}
	return joined, joined.take(session, answer, caCert, role)
}

// converse runs the handshake and returns the server's grant, proved.
func converse(conn *tls.Conn, token Token, role Role, request JoinRequest) (*session, *grant, []byte, error) {
	h := hello{Version: joinVersion, Role: role, TokenID: token.id, Nonce: newNonce()}
	if err := writeMessage(conn, h); err != nil {
		return nil, nil, nil, err
	}
	var c challenge
	if err := readMessage(conn, &c); err != nil {
		return nil, nil, nil, err
	}
	hash, err := token.checkAuthority(c)
	if err != nil {
		return nil, nil, nil, err
	}
	key, err := token.key(hash)
	if err != nil {
		return nil, nil, nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, nil, nil, err
	}
	session, err := newSession(conn, key, h, c, body)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := writeMessage(conn, proof{MAC: session.joinerMAC(), Request: body}); err != nil {
		return nil, nil, nil, err
	}
	answer, err := readVerdict(conn, session)
	return session, answer, c.CACert, err
}

// checkAuthority compares the CA that the server shows with the one that the token names.
func (t Token) checkAuthority(c challenge) (hash string, err error) {
	if len(c.Nonce) != nonceSize {
		return "", errors.New("the server's nonce is damaged")
	}
	cert, err := x509.ParseCertificate(c.CACert)
	if err != nil {
		return "", fmt.Errorf("the server's CA certificate: %w", err)
	}
	hash = spkiHash(cert)
	if t.caHash != "" && t.caHash != hash {
		return "", Refuse(JoinTokenRefused, "the token is of another cluster: its CA is %.12s…, this server's is %.12s…", t.caHash, hash)
	}
	return hash, nil
}

func readVerdict(conn *tls.Conn, s *session) (*grant, error) {
	var v verdict
	if err := readMessage(conn, &v); err != nil {
		return nil, err
	}
	if v.Refusal != nil {
		return nil, v.Refusal
	}
	if !hmac.Equal(v.MAC, s.serverMAC(v.Grant)) {
		return nil, Refuse(JoinTokenRefused, "the server does not know the token: it is not this cluster, or someone stands between")
	}
	answer := &grant{}
	if err := json.Unmarshal(v.Grant, answer); err != nil {
		return nil, fmt.Errorf("the server's grant: %w", err)
	}
	return answer, nil
}

// take checks what was granted and keeps it.
func (j *Joined) take(s *session, answer *grant, caCert []byte, role Role) error {
	j.Answer, j.Cert, j.ServingCert = answer.Answer, answer.Cert, answer.ServingCert
	var secrets masterSecrets
	if role == RoleMaster {
		plain, err := s.unseal(answer.Sealed)
		if err == nil {
			err = json.Unmarshal(plain, &secrets)
		}
		if err == nil {
			j.Secret, err = ParseToken(secrets.Secret)
		}
		if err != nil {
			return fmt.Errorf("unseal the masters' secrets: %w", err)
		}
	}
	ca, err := ParseCA(encodePEM(pemCertificate, caCert), secrets.CAKey)
	if err != nil {
		return err
	}
	j.CA = ca
	if _, err := tls.X509KeyPair(j.Cert, j.Key); err != nil {
		return fmt.Errorf("the granted certificate: %w", err)
	}
	if role == RoleNode {
		if _, err := tls.X509KeyPair(j.ServingCert, j.ServingKey); err != nil {
			return fmt.Errorf("the granted serving certificate: %w", err)
		}
	}
	return nil
}

// boundConn gives a connection a deadline, and cuts it short when ctx ends.
func boundConn(ctx context.Context, conn net.Conn, limit time.Duration) (stop func()) {
	_ = conn.SetDeadline(time.Now().Add(limit))
	done := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() { done() }
}

// contextFirst explains an I/O error by the context's end when that caused it.
func contextFirst(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
