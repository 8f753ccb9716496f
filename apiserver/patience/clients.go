package patience

import (
	"container/list"
	"net/http"
	"sync"
	"time"
)

// SlowClients bounds the clients that a server waits for at one time, and the bytes that it holds meanwhile. Beyond a bound the
// client that has been waited for longest is cut off: whoever is slow makes room for whoever is not, however many are slow.
//
//  1. cut is called at most once for each wait, and never after the wait's end: it may touch what the request's handler owns.
//  2. count and bytes are those of the waits that are in the list; a wait that was cut off is not.
type SlowClients struct {
	maxCount int
	maxBytes int64

	mu    sync.Mutex
	waits list.List // of *Wait, longest first
	bytes int64
}

// NewSlowClients bounds the clients that are waited for by number and by what is held for them.
func NewSlowClients(count int, bytes int64) *SlowClients {
	return &SlowClients{maxCount: count, maxBytes: bytes}
}

// Wait is one client that is waited for.
type Wait struct {
	clients *SlowClients
	element *list.Element // nil: it is not in the list any more
	bytes   int64         // guarded by clients.mu

	mu    sync.Mutex
	cut   func() // nil: the wait has ended
	isCut bool
}

// Begin has a client waited for, which cut would cut off. Its End must be called.
func (s *SlowClients) Begin(cut func()) *Wait {
	w := &Wait{clients: s, cut: cut}
	s.mu.Lock()
	w.element = s.waits.PushBack(w)
	longest := s.excess()
	s.mu.Unlock()
	cutOff(longest)
	return w
}

// Hold counts bytes that are held for the client.
func (w *Wait) Hold(bytes int) {
	s := w.clients
	s.mu.Lock()
	if w.element != nil {
		w.bytes += int64(bytes)
		s.bytes += int64(bytes)
	}
	longest := s.excess()
	s.mu.Unlock()
	cutOff(longest)
}

// End tells that the client is not waited for any more, and whether it was cut off.
func (w *Wait) End() (wasCut bool) {
	s := w.clients
	s.mu.Lock()
	s.remove(w)
	s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = nil
	return w.isCut
}

// excess takes those out of the list who are too many. The caller holds mu.
func (s *SlowClients) excess() (longest []*Wait) {
	for s.waits.Len() > s.maxCount || s.bytes > s.maxBytes && s.waits.Len() > 0 {
		w := s.waits.Front().Value.(*Wait)
		s.remove(w)
		longest = append(longest, w)
	}
	return longest
}

func (s *SlowClients) remove(w *Wait) {
	if w.element != nil {
		s.waits.Remove(w.element)
		s.bytes -= w.bytes
		w.element = nil
	}
}

func cutOff(waits []*Wait) {
	for _, w := range waits {
		w.mu.Lock()
		if w.cut != nil {
			w.isCut = true
			w.cut()
		}
		w.mu.Unlock()
	}
}

// past is a deadline that has gone by.
var past = time.Unix(1, 0)

// CutReader is a cut for who takes an answer.
func CutReader(w http.ResponseWriter) func() {
	return func() { _ = http.NewResponseController(w).SetWriteDeadline(past) }
}
