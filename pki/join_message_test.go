package pki

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	sent := hello{Version: joinVersion, Role: RoleNode, TokenID: "abc", Nonce: newNonce()}
	if err := writeMessage(&wire, sent); err != nil {
		t.Fatal(err)
	}
	var got hello
	if err := readMessage(&wire, &got); err != nil {
		t.Fatal(err)
	}
	if got.TokenID != sent.TokenID || !bytes.Equal(got.Nonce, sent.Nonce) || got.validate() != nil {
		t.Errorf("got %+v, sent %+v", got, sent)
	}
}

func TestMessageSizeIsBounded(t *testing.T) {
	if err := writeMessage(io.Discard, proof{MAC: make([]byte, maxMessage)}); !errors.Is(err, errMessageSize) {
		t.Errorf("write: %v", err)
	}
	if err := readMessage(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff}), &proof{}); !errors.Is(err, errMessageSize) {
		t.Errorf("read: %v", err)
	}
	if err := readMessage(bytes.NewReader([]byte{0, 0, 1, 0, '{'}), &proof{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, message := range []any{
		hello{Version: 1, Role: RoleNode, Nonce: make([]byte, nonceSize)},
		challenge{Nonce: make([]byte, nonceSize), CACert: []byte("der")},
		proof{MAC: make([]byte, 32), Request: []byte(`{"name":"n1"}`)},
		verdict{Refusal: Refuse(JoinRefused, "no")},
		nodeQuestion{Version: nodeVersion, Hosts: []string{"10.0.0.1"}, Request: []byte("csr")},
	} {
		var wire bytes.Buffer
		if err := writeMessage(&wire, message); err != nil {
			f.Fatal(err)
		}
		f.Add(wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var h hello
		if readMessage(bytes.NewReader(wire), &h) == nil && h.validate() == nil && len(h.Nonce) != nonceSize {
			t.Error("a hello with a bad nonce is valid")
		}
		for _, message := range []any{&challenge{}, &proof{}, &verdict{}, &nodeQuestion{}} {
			_ = readMessage(bytes.NewReader(wire), message)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	token, _ := NewToken(RoleNode, string(bytes.Repeat([]byte("ab"), 32)), 0, testTime)
	f.Add(token.Reveal())
	f.Add("a secret of enough characters")
	f.Add("ctp...")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(token.Reveal())
		if err != nil || again != token {
			t.Errorf("%q does not survive being printed: %v", text, err)
		}
	})
}
