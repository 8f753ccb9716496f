package migrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// picture is all that a client can see of a store up to a revision.
type picture struct {
	Compacted bool             // what is before the compaction can't be read
	Keys      map[int64]string // a hash of all keys with their revisions, versions and leases, at some revisions
	Events    string           // a hash of all events since the compaction
	Leases    map[int64]string
}

// takePicture looks at everything up to revision upto.
func takePicture(t *testing.T, c *clientv3.Client, compacted, upto int64) picture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := picture{Keys: map[int64]string{}, Leases: map[int64]string{}}
	_, err := c.Get(ctx, "a", clientv3.WithRev(compacted-1))
	p.Compacted = errors.Is(err, rpctypes.ErrCompacted)
	for _, rev := range []int64{compacted, compacted + 1, (compacted + upto) / 2, upto - 1, upto} {
		got, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(rev))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		for _, kv := range got.Kvs {
			write(t, sum, kv)
		}
		p.Keys[rev] = fmt.Sprintf("%d keys %x", len(got.Kvs), sum.Sum(nil))
	}
	sum, count := sha256.New(), 0
	for _, e := range eventsUpTo(ctx, t, c, compacted, upto) {
		write(t, sum, e)
		count++
	}
	p.Events = fmt.Sprintf("%d events %x", count, sum.Sum(nil))
	leases, err := c.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		r, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(r.Keys, slices.Compare)
		p.Leases[int64(l.ID)] = fmt.Sprintf("granted %d, keys %q", r.GrantedTTL, r.Keys)
	}
	return p
}

func write(t *testing.T, to interface{ Write([]byte) (int, error) }, m proto.Message) {
	t.Helper()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(to, "%d ", len(content))
	_, _ = to.Write(content)
}

// eventsUpTo are all events from a revision to another, of which there must be some.
func eventsUpTo(ctx context.Context, t *testing.T, c *clientv3.Client, from, upto int64) []*mvccpb.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var events []*mvccpb.Event
	for r := range c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from)) {
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision <= upto {
				events = append(events, (*mvccpb.Event)(e))
			}
		}
		if r.Events[len(r.Events)-1].Kv.ModRevision >= upto {
			return events
		}
	}
	t.Fatalf("the watch ended before revision %d: %v", upto, context.Cause(ctx))
	return nil
}
