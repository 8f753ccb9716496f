package pki

import (
	"net"
	"slices"
	"sync"
	"time"
)

// waiting are the connections of callers who have proved nothing yet, the longest first; at most maxUnproved.
type waiting struct {
	mu    sync.Mutex
	conns []net.Conn
}

// enter has a caller waited for, until leave is called, or until so many have come after it that it is cut off.
func (w *waiting) enter(conn net.Conn) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	if len(w.conns) > maxUnproved {
		_ = w.conns[0].SetDeadline(time.Unix(1, 0))
		w.conns = slices.Delete(w.conns, 0, 1)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if i := slices.Index(w.conns, conn); i >= 0 {
			w.conns = slices.Delete(w.conns, i, i+1)
		}
	}
}
