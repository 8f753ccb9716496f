// Package patience bounds how long a server waits for the other end of an HTTP connection: to send a request's body, and to
// take an answer.
package patience

import (
	"net/http"
	"time"
)

// pieceBytes is how much of an answer has to be taken within the patience: a large answer is no reason to cut off a reader that
// takes it steadily.
const pieceBytes = 64 << 10

// Writer is an http.ResponseWriter that cuts off a reader which takes nothing.
//
//  1. A deadline is set from a write until the flush after it, and is never older than the last piece that was taken: what is cut
//     off has taken less than pieceBytes for the patience.
//  2. No deadline is set after a flush, so that a stream that has nothing to say stays open. Over HTTP/2 one that passes resets
//     the stream though nothing is being written.
//  3. With a Limit the whole answer, however steadily it is taken, ends within it; what is still buffered when the handler
//     returns is bounded, too.
//
// One goroutine writes.
type Writer struct {
	http.ResponseWriter
	// Patience is how long the reader may take nothing.
	Patience time.Duration
	// Limit bounds the whole answer, from its first write on; zero: it may last for ever. It is not changed once the answer has begun.
	Limit time.Duration

	end   time.Time // of the whole answer; zero: none, or not begun
	armed time.Time // when the present deadline was set; zero: there is none
}

// Unwrap lets http.ResponseController reach the connection.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *Writer) WriteHeader(code int) {
	w.arm()
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *Writer) Write(p []byte) (written int, err error) {
	for {
		w.arm()
		n, err := w.ResponseWriter.Write(p[:min(len(p), pieceBytes)])
		written += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return written, err
		}
	}
}

// FlushError sends what was written on its way. http.ResponseController calls it.
func (w *Writer) FlushError() error {
	w.arm()
	if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
		return err
	}
	w.armed = time.Time{}
	w.setDeadline(w.end)
	return nil
}

// Flush implements http.Flusher, for those who don't know http.ResponseController.
func (w *Writer) Flush() { _ = w.FlushError() }

// arm sets the deadline, unless it was set just now: setting it is not free.
func (w *Writer) arm() {
	now := time.Now()
	if !w.armed.IsZero() && now.Sub(w.armed) < w.Patience/16 {
		return
	}
	if w.Limit > 0 && w.end.IsZero() {
		w.end = now.Add(w.Limit)
	}
	deadline := now.Add(w.Patience)
	if !w.end.IsZero() && w.end.Before(deadline) {
		deadline = w.end
	}
	w.armed = now
	w.setDeadline(deadline)
}

// setDeadline has no effect where connections have no deadlines: such a one is left to its own.
func (w *Writer) setDeadline(t time.Time) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}
