package etcdv3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/kv"
)

func openPipeline(t testing.TB, address string) (*client.Client, *client.Pipeline) {
	t.Helper()
	c, err := client.Connect(t.Context(), client.Config{Endpoints: []string{address}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p, err := c.Pipeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func TestPipelineWrites(t *testing.T) {
	c, p := openPipeline(t, serve(t, newLocalBackend(t), ServerConfig{}, Options{}))
	const writes = 3000
	pending := make([]*client.Pending, writes)
	for i := range writes {
		pending[i] = p.Put(fmt.Appendf(nil, "k%04d", i), fmt.Append(nil, i))
	}
	for i, w := range pending {
		if rev, err := w.Wait(t.Context()); err != nil || rev != int64(i)+2 {
			t.Fatalf("write %d: revision %d, %v; want %d, the order they were given in", i, rev, err, i+2)
		}
	}
	if _, err := p.Delete([]byte("k0000")).Wait(t.Context()); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		pending *client.Pending
		want    error
	}{
		"empty key":     {p.Put(nil, []byte("v")), rpctypes.ErrGRPCEmptyKey},
		"unknown lease": {p.PutLease([]byte("k"), nil, 99), rpctypes.ErrGRPCLeaseNotFound},
		"over 1.5 MiB":  {p.Put([]byte("k"), make([]byte, DefaultMaxRequestBytes)), rpctypes.ErrGRPCRequestTooLarge},
	} {
		if _, err := test.pending.Wait(t.Context()); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := c.KV().Get(t.Context(), "k0001")
	if err != nil || len(got.Kvs) != 1 || !bytes.Equal(got.Kvs[0].Value, []byte("1")) {
		t.Errorf("%v, %v", got, err)
	}
}

// heldProposer answers nothing until it is released.
type heldProposer struct {
	mu       sync.Mutex
	proposed int
	bytes    int
	held     []func(kv.Result, error)
}

func (p *heldProposer) ProposeAsync(_ context.Context, c kv.Command, done func(kv.Result, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proposed++
	p.bytes += len(c.Put.Key) + len(c.Put.Value)
	p.held = append(p.held, done)
}

func (p *heldProposer) release() int {
	p.mu.Lock()
	held := slices.Clone(p.held)
	p.held = nil
	p.mu.Unlock()
	for _, done := range held {
		done(kv.Result{}, kv.ErrNoSpace)
	}
	return len(held)
}

// A stream is not read while too much of it is in flight, and is read again once that is answered.
func TestPipelineBoundsAStream(t *testing.T) {
	ws := newPipelineServer(&heldProposer{}, nil, DefaultMaxRequestBytes).newStream(nil)
	const bytes, writes, fit = 1 << 20, 32, streamBytes >> 20
	admitted := make(chan error, writes)
	var reader sync.WaitGroup
	reader.Go(func() {
		for range writes {
			admitted <- ws.admit(bytes)
		}
	})
	for range fit {
		<-admitted
	}
	for range writes - fit {
		select {
		case <-admitted:
			t.Fatal("read on beyond the bound")
		default:
		}
		ws.sent(1, bytes)
		<-admitted
	}
	reader.Wait()
}

// All streams together give the store no more than it has room for, and go on as it answers.
func TestPipelineBoundsTheStore(t *testing.T) {
	store := &heldProposer{}
	address := serveProposer(t, newLocalBackend(t), store)
	const streams, writes = 6, 40 // of a megabyte each
	var pending []*client.Pending
	var pipelines []*client.Pipeline
	var writers sync.WaitGroup
	var mu sync.Mutex
	for range streams {
		_, p := openPipeline(t, address)
		pipelines = append(pipelines, p)
		writers.Go(func() {
			for range writes {
				w := p.Put([]byte("k"), make([]byte, 1<<20))
				mu.Lock()
				pending = append(pending, w)
				mu.Unlock()
			}
		})
	}
	for answered := 0; answered < streams*writes; {
		if n := store.release(); n > proposedBytes>>20 {
			t.Fatalf("%d megabytes were proposed at once", n)
		} else {
			answered += n
		}
	}
	writers.Wait()
	for _, w := range pending {
		if _, err := w.Wait(t.Context()); !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
			t.Fatal(err)
		}
	}
	for _, p := range pipelines {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A client that goes away in the middle leaves nothing behind that a late answer could hurt.
func TestPipelineClientGoesAway(t *testing.T) {
	b := newLocalBackend(t)
	store := &heldProposer{}
	address := serveProposer(t, b, store)
	c, err := client.Connect(t.Context(), client.Config{Endpoints: []string{address}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := c.Pipeline(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pending := p.Put([]byte("k"), nil)
	for proposed := 0; proposed == 0; {
		store.mu.Lock()
		proposed = store.proposed
		store.mu.Unlock()
	}
	cancel()
	if _, err := pending.Wait(t.Context()); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("write in flight: %v", err)
	}
	_ = p.Close()
	if store.release() != 1 {
		t.Error("the write was not proposed")
	}
}

// What the store refuses comes back with etcd's code and text, write by write.
func TestPipelineRefusals(t *testing.T) {
	store := &heldProposer{}
	_, p := openPipeline(t, serveProposer(t, newLocalBackend(t), store))
	pending := p.Put([]byte("k"), nil)
	for store.release() == 0 {
	}
	_, err := pending.Wait(t.Context())
	if status.Code(err) != codes.ResourceExhausted || !errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		t.Errorf("got %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
