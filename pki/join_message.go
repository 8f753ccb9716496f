package pki

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxMessage bounds a handshake message: it is read from callers who have proved nothing yet.
const maxMessage = 64 << 10

const (
	joinVersion = 1
	nonceSize   = 32
)

// hello opens the handshake, joiner to server.
type hello struct {
	Version int    `json:"version"`
	Role    Role   `json:"role"`
	TokenID string `json:"tokenId,omitempty"` // empty: the shared secret
	Nonce   []byte `json:"nonce"`
}

// challenge answers it.
type challenge struct {
	Nonce  []byte `json:"nonce"`
	CACert []byte `json:"caCert"` // DER
}

// proof shows that the joiner knows the token, and carries what it asks for.
type proof struct {
	MAC     []byte          `json:"mac"`
	Request json.RawMessage `json:"request"` // a JoinRequest; the MAC is over these very bytes
}

// verdict ends the handshake: a refusal, or the grant with the server's own proof.
type verdict struct {
	Refusal *JoinError      `json:"refusal,omitempty"`
	MAC     []byte          `json:"mac,omitempty"`
	Grant   json.RawMessage `json:"grant,omitempty"` // a grant; the MAC is over these very bytes
}

// grant is what a machine gets that was let in.
type grant struct {
	Answer      JoinAnswer `json:"answer"`
	Cert        []byte     `json:"cert"`                  // PEM; for the request's first key
	ServingCert []byte     `json:"servingCert,omitempty"` // PEM; nodes only
	Sealed      []byte     `json:"sealed,omitempty"`      // masters only: masterSecrets
}

// masterSecrets are what every master holds, sealed for a new one.
type masterSecrets struct {
	CAKey  []byte `json:"caKey"`  // PEM
	Secret string `json:"secret"` // the masters' shared one
}

var errMessageSize = fmt.Errorf("join message is larger than %d bytes", maxMessage)

// writeMessage sends a message: four bytes of length, then JSON.
func writeMessage(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode a join message: %w", err)
	}
	if len(body) > maxMessage {
		return errMessageSize
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// readMessage reads what writeMessage sent. It allocates as bytes arrive, never by the length announced.
func readMessage(r io.Reader, message any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return errMessageSize
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if len(body) < int(size) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("join message: %w", err)
	}
	return nil
}

func (h *hello) validate() error {
	switch {
	case h.Version != joinVersion:
		return fmt.Errorf("joiner speaks version %d of the join protocol, this server %d: run the same release on both", h.Version, joinVersion)
	case h.Role != RoleMaster && h.Role != RoleNode:
		return fmt.Errorf("unknown role %q", h.Role)
	case len(h.Nonce) != nonceSize:
		return errors.New("bad nonce")
	case len(h.TokenID) > 64:
		return errors.New("bad token id")
	}
	return nil
}
