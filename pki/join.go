package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
)

// The join handshake lets a machine in that knows a token, over a TLS connection whose server it can't
// check yet. It keeps these invariants:
//
//  1. The token never crosses the wire. Each side proves that it knows it with an HMAC under a key
//     derived from it.
//  2. Each proof covers the whole conversation: both nonces, the role, the token's id, the CA, the
//     request, and (the server's) the answer; changing any of them breaks the proof.
//  3. Each proof covers the TLS connection itself (exported keying material). A man in the middle has
//     two connections with different material, so what he relays proves nothing.
//  4. The joiner proves first, so a stranger who calls learns nothing that he could guess tokens with.
//  5. Nothing in a signing request but its key is taken over; the server decides names and roles.
//  6. The CA's key and the masters' secret cross only to a master, sealed under a key that both the
//     token and this conversation go into.

// JoinRequest is what a joining machine says of itself.
type JoinRequest struct {
	Name string `json:"name"`
	// PeerAddress, ClientAddress and APIAddress are a master's, host:port.
	PeerAddress   string `json:"peerAddress,omitempty"`
	ClientAddress string `json:"clientAddress,omitempty"`
	APIAddress    string `json:"apiAddress,omitempty"`
	// Hosts are the names and addresses that a node wants to serve as.
	Hosts []string `json:"hosts,omitempty"`

	Request        []byte `json:"csr"`                  // filled in by Join
	ServingRequest []byte `json:"servingCsr,omitempty"` // filled in by Join
}

// JoinAnswer is what the cluster tells a machine that it let in.
type JoinAnswer struct {
	ClusterID uint64       `json:"clusterId"`
	MemberID  uint64       `json:"memberId,omitempty"` // of a new master
	Members   []JoinMember `json:"members"`
	// Hosts are what a node may serve as, among what it asked for.
	Hosts []string `json:"hosts,omitempty"`
	// ClusterCIDR holds all pods' addresses, for a node.
	ClusterCIDR string `json:"clusterCidr,omitempty"`
}

// JoinMember is one master of the cluster.
type JoinMember struct {
	ID            uint64 `json:"id"`
	Name          string `json:"name"`
	PeerAddress   string `json:"peerAddress"`
	ClientAddress string `json:"clientAddress,omitempty"`
	APIAddress    string `json:"apiAddress,omitempty"`
}

// JoinCode sorts refusals by what the joiner can do about them.
type JoinCode string

const (
	JoinTokenRefused JoinCode = "token"       // wrong, unknown, expired or for another role: another token
	JoinRefused      JoinCode = "refused"     // the request itself: change it
	JoinUnavailable  JoinCode = "unavailable" // the cluster can't right now: try again
)

// JoinError is a refusal.
type JoinError struct {
	Code    JoinCode `json:"code"`
	Message string   `json:"message"`
}

func (e *JoinError) Error() string { return e.Message }

// Refuse makes a refusal for an acceptor to return.
func Refuse(code JoinCode, format string, args ...any) *JoinError {
	return &JoinError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// transcript hashes everything that a proof must cover; each part is preceded by its length, so that
// no two conversations hash alike.
func transcript(parts ...[]byte) []byte {
	h := sha256.New()
	h.Write([]byte("ctlplane join handshake 1"))
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// session is one handshake's shared knowledge, the same on both sides of an honest connection.
type session struct {
	key        []byte
	transcript []byte
}

// newSession binds the key to the connection and to what was said on it up to the proof.
func newSession(conn *tls.Conn, key []byte, h hello, c challenge, request []byte) (*session, error) {
	state := conn.ConnectionState()
	if state.Version < tls.VersionTLS13 {
		return nil, errors.New("the join handshake needs TLS 1.3")
	}
	binding, err := state.ExportKeyingMaterial("EXPORTER-ctlplane-join", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("bind the handshake to its connection: %w", err)
	}
	return &session{key: key, transcript: transcript(
		binding, []byte(h.Role), []byte(h.TokenID), h.Nonce, c.Nonce, c.CACert, request)}, nil
}

// joinerMAC proves the token to the server.
func (s *session) joinerMAC() []byte { return s.mac("joiner", nil) }

// serverMAC proves the token, and the answer, to the joiner.
func (s *session) serverMAC(answer []byte) []byte { return s.mac("server", answer) }

func (s *session) mac(side string, answer []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(transcript([]byte(side), s.transcript, answer))
	return h.Sum(nil)
}

func (s *session) sealer() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key, s.transcript, "ctlplane join: masters' secrets", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts for the joiner of this session.
func (s *session) seal(plain []byte) ([]byte, error) {
	aead, err := s.sealer()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(nonce, nonce, plain, nil), nil
}

func (s *session) unseal(sealed []byte) ([]byte, error) {
	aead, err := s.sealer()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("what was sealed is cut short")
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
}

func newNonce() []byte {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	return nonce
}
