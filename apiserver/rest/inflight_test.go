package rest

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/apiserver/patience"
)

// reader is an answer's connection, which remembers that it was cut off.
type reader struct {
	*httptest.ResponseRecorder
	cut bool
}

// SetWriteDeadline lets http.ResponseController set deadlines.
func (r *reader) SetWriteDeadline(t time.Time) error {
	r.cut = r.cut || t.Before(time.Now())
	return nil
}

// TestReadersAreBoundedByBytes has answers that are not taken: what is held of them is bounded, and not only their number.
func TestReadersAreBoundedByBytes(t *testing.T) {
	readers := patience.NewSlowClients(100, 1000)
	slots := newInflight(100)
	answer := func(bytes int) *reader {
		connection := &reader{ResponseRecorder: httptest.NewRecorder()}
		o := &observed{Writer: patience.Writer{ResponseWriter: connection, Patience: time.Minute}}
		slots.enter()
		o.holds(&slots, readers)
		if _, err := o.Write(make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
		return connection
	}
	first, second := answer(600), answer(300)
	if first.cut || second.cut {
		t.Fatal("an answer was cut off though there is room for it")
	}
	third := answer(300)
	if !first.cut || second.cut || third.cut {
		t.Errorf("cut off: first %v, second %v, third %v; the first was to make room", first.cut, second.cut, third.cut)
	}
}
