package pki

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// proveTimeout bounds what a caller who has proved nothing can hold up.
	proveTimeout = 10 * time.Second
	// acceptTimeout bounds the rest, in which a new master is added to the group.
	acceptTimeout = 25 * time.Second
	// maxJoining bounds the joiners that have proved a token and are let in at once, and the nodes' questions; maxUnproved
	// bounds the callers who have proved nothing yet.
	maxJoining, maxUnproved = 64, 64
)

// Acceptor decides over joiners that have proved a token for their role. It returns a *JoinError to
// refuse; any other error is logged and told to the joiner as a reason to try again.
type Acceptor interface {
	// AcceptMaster makes the machine a member of the group.
	AcceptMaster(ctx context.Context, request JoinRequest) (JoinAnswer, error)
	// AcceptNode lets a node in. from is the address that it calls from. The answer's Hosts are what
	// the node's serving certificate is for.
	AcceptNode(ctx context.Context, request JoinRequest, from net.Addr) (JoinAnswer, error)
}

// JoinServer is the cluster's side of the join handshake. Safe for concurrent use.
//
// Strangers can't keep joiners out: of those who have proved nothing, the one that has taken longest makes room.
type JoinServer struct {
	ca       *CA
	secret   Token
	tokens   TokenStore
	acceptor Acceptor
	logger   *slog.Logger
	now      func() time.Time

	unproved  waiting
	joining   chan struct{}
	asking    chan struct{}
	secretKey func() ([]byte, error)
}

// NewJoinServer serves joiners with the authority's key. secret is the masters' shared secret; tokens
// may be nil where there are no created tokens.
func NewJoinServer(ca *CA, secret Token, tokens TokenStore, acceptor Acceptor, logger *slog.Logger, now func() time.Time) *JoinServer {
	return &JoinServer{
		ca: ca, secret: secret, tokens: tokens, acceptor: acceptor, logger: logger, now: now,
		joining:   make(chan struct{}, maxJoining),
		asking:    make(chan struct{}, maxJoining),
		secretKey: sync.OnceValues(func() ([]byte, error) { return secret.key(ca.Hash()) }),
	}
}

// Serve runs one handshake, on a connection that negotiated ProtocolJoin, and closes it.
func (s *JoinServer) Serve(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	if err := s.serve(ctx, conn); err != nil {
		s.logger.Warn("a machine was not let in", "from", conn.RemoteAddr(), "error", err)
	}
}

func (s *JoinServer) serve(ctx context.Context, conn *tls.Conn) error {
	stop := boundConn(ctx, conn, proveTimeout)
	defer stop()
	proved := s.unproved.enter(conn)
	defer proved()
	var h hello
	if err := readMessage(conn, &h); err != nil {
		return err
	}
	if err := h.validate(); err != nil {
		return err
	}
	c := challenge{Nonce: newNonce(), CACert: s.ca.cert.Raw}
	if err := writeMessage(conn, c); err != nil {
		return err
	}
	var p proof
	if err := readMessage(conn, &p); err != nil {
		return err
	}
	session, err := s.verify(ctx, conn, h, c, p)
	if err != nil {
		return s.refuse(conn, err)
	}
	proved()
	_ = conn.SetDeadline(time.Now().Add(acceptTimeout))
	select {
	case s.joining <- struct{}{}:
		defer func() { <-s.joining }()
	default:
		return s.refuse(conn, errors.New("too many machines are joining at once"))
	}
	answer, err := s.accept(ctx, conn, session, h.Role, p.Request)
	if err != nil {
		return s.refuse(conn, err)
	}
	return writeMessage(conn, verdict{MAC: session.serverMAC(answer), Grant: answer})
}

// verify checks the joiner's proof. Only who has proved a token is told more of it than that it was refused.
func (s *JoinServer) verify(ctx context.Context, conn *tls.Conn, h hello, c challenge, p proof) (*session, error) {
	record, err := s.lookup(ctx, h.TokenID)
	if err != nil {
		return nil, err
	}
	session, err := newSession(conn, record.Key, h, c, p.Request)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(p.MAC, session.joinerMAC()) {
		return nil, Refuse(JoinTokenRefused, "the token is not one of this cluster: check --token, or make one with 'ctlplane token create'")
	}
	if record.Expired(s.now()) {
		return nil, Refuse(JoinTokenRefused, "the token expired at %s: make one with 'ctlplane token create'", record.Expires.UTC().Format(time.RFC3339))
	}
	if h.Role == RoleMaster && record.Role != RoleMaster {
		return nil, Refuse(JoinTokenRefused, "the token is for nodes, it makes no master: use the masters' token, or make one with 'ctlplane token create --master'")
	}
	return session, nil
}

// lookup finds what the joiner must prove. The shared secret is a master's token; a master's token makes
// nodes too.
func (s *JoinServer) lookup(ctx context.Context, id string) (TokenRecord, error) {
	if id == "" {
		key, err := s.secretKey()
		return TokenRecord{Role: RoleMaster, Key: key}, err
	}
	var record TokenRecord
	var known bool
	if s.tokens != nil {
		var err error
		if record, known, err = s.tokens.LookupToken(ctx, id); err != nil {
			return record, fmt.Errorf("look up a token: %w", err)
		}
	}
	if !known {
		// The answer is the same as to a wrong secret, and takes the same way.
		return TokenRecord{Role: RoleNode, Key: newNonce()}, nil
	}
	return record, nil
}

// accept has the acceptor decide, and signs what it grants.
func (s *JoinServer) accept(ctx context.Context, conn *tls.Conn, session *session, role Role, body []byte) ([]byte, error) {
	var request JoinRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, Refuse(JoinRefused, "the join request can't be read: %v", err)
	}
	validate := ValidateName
	if role == RoleMaster {
		validate = ValidateMemberName
	}
	if err := validate(request.Name); err != nil {
		return nil, Refuse(JoinRefused, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	g := grant{}
	var err error
	if role == RoleMaster {
		err = s.grantMaster(ctx, session, request, &g)
	} else {
		err = s.grantNode(ctx, conn.RemoteAddr(), request, &g)
	}
	if err != nil {
		return nil, err
	}
	s.logger.Info("a machine joined", "role", role, "name", request.Name, "from", conn.RemoteAddr())
	return json.Marshal(g)
}

func (s *JoinServer) grantMaster(ctx context.Context, session *session, request JoinRequest, g *grant) error {
	host, err := PeerHost(request.PeerAddress)
	if err != nil {
		return Refuse(JoinRefused, "peer address %q: %v", request.PeerAddress, err)
	}
	// Signed first: a request that can't be signed must not have changed the group.
	g.Cert, err = s.ca.IssueForRequest(request.Request, PeerLeaf(request.Name, host), s.now())
	if err != nil {
		return Refuse(JoinRefused, "%v", err)
	}
	if g.Sealed, err = s.sealSecrets(session); err != nil {
		return err
	}
	g.Answer, err = s.acceptor.AcceptMaster(ctx, request)
	return err
}

func (s *JoinServer) sealSecrets(session *session) ([]byte, error) {
	caKey, err := s.ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(masterSecrets{CAKey: caKey, Secret: s.secret.Reveal()})
	if err != nil {
		return nil, err
	}
	return session.seal(plain)
}

func (s *JoinServer) grantNode(ctx context.Context, from net.Addr, request JoinRequest, g *grant) error {
	var err error
	if g.Cert, err = s.ca.IssueForRequest(request.Request, NodeLeaf(request.Name), s.now()); err != nil {
		return Refuse(JoinRefused, "%v", err)
	}
	if g.Answer, err = s.acceptor.AcceptNode(ctx, request, from); err != nil {
		return err
	}
	serving := NodeServingLeaf(request.Name, g.Answer.Hosts...)
	if g.ServingCert, err = s.ca.IssueForRequest(request.ServingRequest, serving, s.now()); err != nil {
		return Refuse(JoinRefused, "%v", err)
	}
	return nil
}

// refuse tells the joiner why, and returns the error for the log.
func (s *JoinServer) refuse(conn *tls.Conn, err error) error {
	var refusal *JoinError
	if !errors.As(err, &refusal) {
		refusal = Refuse(JoinUnavailable, "the cluster can't take the machine in right now: %v", err)
	}
	return errors.Join(err, writeMessage(conn, verdict{Refusal: refusal}))
}

// maxMemberName bounds a member's name, in bytes.
const maxMemberName = 255

// ValidateMemberName checks a member's name. It may be almost any text, as with etcd; what would be misread in a
// list of members is left out.
func ValidateMemberName(name string) error {
	bad := func(r rune) bool { return r == utf8.RuneError || r == ',' || r == '=' || !unicode.IsPrint(r) }
	if name == "" || len(name) > maxMemberName || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("name %q can't be a member's: use 1 to %d printable characters without ',' and '='", name, maxMemberName)
	}
	return nil
}

// ValidateName checks a node's name: a DNS label or several, lower case, at most 63 characters.
func ValidateName(name string) error {
	bad := name == "" || len(name) > 63
	edge := true // a label must start and end with a letter or digit
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			edge = false
		case c == '-' && !edge && i+1 < len(name) && name[i+1] != '.':
		case c == '.' && !edge && name[i-1] != '-':
			edge = true
		default:
			bad = true
		}
	}
	if bad || edge {
		return fmt.Errorf("name %q is no host name: use at most 63 lower-case letters, digits, '-' and '.'", name)
	}
	return nil
}
