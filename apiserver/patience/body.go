package patience

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// ErrSlowBody is why a body was not read whole: it did not come in time.
var ErrSlowBody = errors.New("the request's body did not come in time")

// ErrCrowded is why a body was not read whole: too many were on their way, and this one had been for longest.
var ErrCrowded = errors.New("too many requests are sending their bodies, and this one has taken longest")

// Bodies reads the bodies of requests.
type Bodies struct {
	// Clients are those that are sending.
	Clients *SlowClients
	// Patience bounds how long one body may take.
	Patience time.Duration
	// MaxBytes bounds one body; a longer one is an *http.MaxBytesError.
	MaxBytes int64
}

// Bound gives a request's body, if it has one, the time that it may take: also what is left of it when the request is refused, which the
// HTTP server reads. It comes before everything else that is done with a request.
func (b *Bodies) Bound(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.Patience)) // where there are deadlines
	}
}

// Read reads a body to its end, after Bound.
func (b *Bodies) Read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	control := http.NewResponseController(w)
	wait := b.Clients.Begin(func() { _ = control.SetReadDeadline(past) })
	body, err := b.gather(wait, http.MaxBytesReader(w, r.Body, b.MaxBytes))
	wasCut := wait.End()
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	case wasCut:
		return nil, ErrCrowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, ErrSlowBody
	}
	return nil, err
}

// gather reads in growing steps, so that only what has come is held.
func (b *Bodies) gather(wait *Wait, from io.Reader) ([]byte, error) {
	var body []byte
	for {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), max(4<<10, 2*len(body)))
			copy(grown, body)
			wait.Hold(cap(grown) - cap(body))
			body = grown
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
