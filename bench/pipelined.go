package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/client"
)

// pipelines writes over the client library's write streams, one a connection, with many writes in flight a client.
type pipelines struct {
	lanes  []*lane
	window int
	key    int
}

// lane is one connection and its write stream, opened again when it breaks.
type lane struct {
	conn *client.Client

	mu     sync.Mutex
	stream *client.Pipeline
}

func openPipelines(ctx context.Context, o Options, endpoints []string) (*pipelines, error) {
	p := &pipelines{window: o.Pipeline, key: o.KeySize}
	for i := range o.Connections {
		endpoint := endpoints[i%len(endpoints)]
		l, err := openLane(ctx, endpoint, o.TLS)
		if err != nil {
			p.close()
			return nil, openError(endpoint, err)
		}
		p.lanes = append(p.lanes, l)
	}
	return p, nil
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

func (p *pipelines) close() {
	for _, l := range p.lanes {
		_ = l.current().Close()
		_ = l.conn.Close()
	}
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
	sent time.Time
	err  error
	done func(int64, error)
}

func (p *pipelines) run(ctx context.Context, m *measurement, id int, load *payload) {
	l := p.lanes[id%len(p.lanes)]
	free := make(chan *slot, p.window)
	for range p.window {
		s := &slot{key: make([]byte, p.key)}
		s.done = func(_ int64, err error) {
			m.record(id, s.sent, time.Now(), err)
			s.err = err
			free <- s
		}
		free <- s
	}
	for m.running() && ctx.Err() == nil {
		s := <-free
		stream := l.current()
		if s.err != nil {
			pause(m)
			if errors.Is(s.err, client.ErrPipelineClosed) {
				l.reopen(ctx, stream)
			}
		}
		load.key(s.key)
		s.sent = time.Now()
		stream.PutFunc(s.key, load.value(), s.done)
	}
	for range p.window { // all answered: the run ends when its last write does
		<-free
	}
}
