package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/client"
)

// lane is one connection and its write stream, opened again when it breaks. Several clients share it.
type lane struct {
	conn *client.Client

	mu     sync.Mutex
	stream *client.Pipeline
}

// runPipelined writes over the client library's write streams, one a connection, with many writes in flight a client.
func (w *Writes) runPipelined(ctx context.Context, r *Run) error {
	streams, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var lanes []*lane
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	for i := range r.Connections {
		endpoint := r.Endpoints[i%len(r.Endpoints)]
		l, err := openLane(streams, endpoint, r.TLS)
		if err != nil {
			return openError(endpoint, err)
		}
		lanes = append(lanes, l)
	}
	r.Go(ctx, func(ctx context.Context, id int) {
		r.pipeline(ctx, id, lanes[id%len(lanes)], w.Pipeline)
	}, nil)
	return nil
}

func openLane(ctx context.Context, endpoint string, cfg *tls.Config) (*lane, error) {
	c, err := client.Connect(ctx, client.Config{
		Endpoints: []string{hostPort(endpoint)}, TLS: cfg, Insecure: cfg == nil, DialTimeout: findTimeout,
	})
	if err != nil {
		return nil, err
	}
	stream, err := c.Pipeline(ctx)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &lane{conn: c, stream: stream}, nil
}

func (l *lane) close() {
	_ = l.current().Close()
	_ = l.conn.Close()
}

func (l *lane) current() *client.Pipeline {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream
}

// reopen replaces broken by a new stream, unless another client has done so.
func (l *lane) reopen(ctx context.Context, broken *client.Pipeline) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != broken {
		return
	}
	if stream, err := l.conn.Pipeline(ctx); err == nil {
		_ = broken.Close()
		l.stream = stream
	}
}

// slot is one of a client's writes in flight. Its key belongs to the stream until the write is answered.
type slot struct {
	key  []byte
	due  time.Time
	err  error
	done func(int64, error)
}

// pipeline is what one client does: it keeps window writes in flight.
func (r *Run) pipeline(ctx context.Context, id int, l *lane, window int) {
	p := r.Payload(id)
	free := make(chan *slot, window)
	for range window {
		s := &slot{key: make([]byte, r.KeySize)}
		s.done = func(_ int64, err error) {
			r.Record(id, s.due, err, r.main)
			s.err = err
			free <- s
		}
		free <- s
	}
	for due, ok := r.Next(ctx); ok; due, ok = r.Next(ctx) {
		s := <-free
		stream := l.current()
		if s.err != nil {
			r.pause()
			if errors.Is(s.err, client.ErrPipelineClosed) {
				l.reopen(ctx, stream)
			}
		}
		if s.due = due; r.Rate == 0 {
			s.due = r.Clock.Now() // in a closed loop the wait for a free slot is the client's own
		}
		p.Key(s.key)
		stream.PutFunc(s.key, p.Value(), s.done)
	}
	for range window { // all answered: the run ends when its last write does
		<-free
	}
}
