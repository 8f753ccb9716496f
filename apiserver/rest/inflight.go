package rest

import (
	"net/http"

	"github.com/ctlplane/ctlplane/apiserver/patience"
)

// inflight counts requests against a limit.
type inflight struct{ slots chan struct{} }

func newInflight(limit int) inflight { return inflight{make(chan struct{}, limit)} }

func (f *inflight) enter() bool {
	select {
	case f.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (f *inflight) leave() { <-f.slots }

// observed is an answer: it remembers the code, and gives the request's slot among those in flight back when it begins.
//
// A slot is for work. While the answer is on its way its reader may be as slow as it likes, and is one of the slow clients, who
// make room for each other.
type observed struct {
	patience.Writer
	code    int
	slot    *inflight             // nil: none is held
	readers *patience.SlowClients // nil: the answer is none of theirs
	wait    *patience.Wait        // for the reader; nil: the answer has not begun
}

// holds gives the answer the slot that its request has taken.
func (o *observed) holds(slot *inflight, readers *patience.SlowClients) {
	o.slot, o.readers = slot, readers
}

// end gives back what is still held.
func (o *observed) end() {
	if o.slot != nil {
		o.slot.leave()
		o.slot = nil
	}
	if o.wait != nil {
		o.wait.End()
		o.wait = nil
	}
}

// WriteHeader implements http.ResponseWriter.
func (o *observed) WriteHeader(code int) {
	o.begin(code)
	o.Writer.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (o *observed) Write(p []byte) (int, error) {
	o.begin(http.StatusOK)
	if o.wait != nil {
		o.wait.Hold(len(p)) // until the answer's end: what was written before may still be on its way, too
	}
	return o.Writer.Write(p)
}

func (o *observed) begin(code int) {
	if o.code != 0 {
		return
	}
	o.code = code
	if o.slot == nil {
		return
	}
	o.wait = o.readers.Begin(patience.CutReader(o.Writer.ResponseWriter))
	o.slot.leave()
	o.slot = nil
}
