package traffic

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Keys is how many keys are read and written by all clients.
const Keys = 10

// think is the mean pause of a client between two requests.
const think = 20 * time.Millisecond

const (
	// often is the mean pause between the reads of a client that does not wait for answers, and atOnce how many may be on their way.
	often  = 20 * time.Millisecond
	atOnce = 200
)

// readOften reads keys without waiting for answers, as many clients that know nothing of each other do. A member that was paused
// finds their requests when it goes on.
func (c *client) readOften(ctx context.Context) {
	asking := context.WithoutCancel(ctx)
	var reads sync.WaitGroup
	defer reads.Wait()
	slots := make(chan struct{}, atOnce)
	for c.pause(ctx, often) {
		r := &pb.RangeRequest{Key: []byte(c.key())}
		slots <- struct{}{}
		reads.Go(func() {
			defer func() { <-slots }()
			_, _ = record(asking, c, r, func(ctx context.Context) (*pb.RangeResponse, error) { return c.kv.Range(ctx, r) })
		})
	}
}

// rangeEnd is where the keys with a prefix end.
func rangeEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// useKeys reads and writes keys until ctx ends. A request that is on its way then is waited for.
func (c *client) useKeys(ctx context.Context) {
	asking := context.WithoutCancel(ctx)
	for c.pause(ctx, think) {
		if c.useKey(asking) != nil && !c.pause(ctx, afterFailure) {
			return
		}
	}
}

func (c *client) key() string { return c.keyNumber(c.random.IntN(Keys)) }

func (c *client) keyNumber(n int) string { return fmt.Sprint(c.history.Prefix, "k/", n%Keys) }

// value is one that no other write has.
func (c *client) value() []byte {
	c.written++
	return fmt.Appendf(nil, "%d-%d", c.number, c.written)
}

// useKey makes one request of a random kind.
func (c *client) useKey(ctx context.Context) error {
	key := c.key()
	switch n := c.random.IntN(100); {
	case n < 28:
		return c.get(ctx, &pb.RangeRequest{Key: []byte(key)})
	case n < 42:
		return c.get(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: true})
	case n < 50:
		prefix := c.history.Prefix + "k/"
		return c.get(ctx, &pb.RangeRequest{Key: []byte(prefix), RangeEnd: rangeEnd(prefix), Serializable: n%2 == 0})
	case n < 56:
		return c.get(ctx, &pb.RangeRequest{Key: []byte(key), Revision: max(1, c.newest-c.random.Int64N(100)), Serializable: n%2 == 0})
	case n < 72:
		return c.put(ctx, key)
	case n < 86:
		return c.guarded(ctx, key)
	case n < 94:
		return c.several(ctx)
	default:
		_, err := record(ctx, c, &pb.DeleteRangeRequest{Key: []byte(key), PrevKv: n%2 == 0}, func(ctx context.Context) (*pb.DeleteRangeResponse, error) {
			return c.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key), PrevKv: n%2 == 0})
		})
		return err
	}
}

func (c *client) get(ctx context.Context, r *pb.RangeRequest) error {
	response, err := record(ctx, c, r, func(ctx context.Context) (*pb.RangeResponse, error) { return c.kv.Range(ctx, r) })
	if err != nil {
		return err
	}
	if len(r.RangeEnd) == 0 && r.Revision == 0 {
		c.known[string(r.Key)] = 0
	}
	for _, kv := range response.Kvs {
		c.known[string(kv.Key)] = kv.ModRevision
	}
	return nil
}

func (c *client) put(ctx context.Context, key string) error {
	r := &pb.PutRequest{Key: []byte(key), Value: c.value(), PrevKv: c.written%2 == 0}
	response, err := record(ctx, c, r, func(ctx context.Context) (*pb.PutResponse, error) { return c.kv.Put(ctx, r) })
	if err == nil {
		c.known[key] = response.Header.Revision
	}
	return err
}

// guarded writes a key if it is as the client saw it last, and reads it if it isn't.
func (c *client) guarded(ctx context.Context, key string) error {
	r := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: c.known[key]},
		}},
		Success: []*pb.RequestOp{putOp(key, c.value())},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
	}
	response, err := c.transact(ctx, r)
	if err != nil {
		return err
	}
	if response.Succeeded {
		c.known[key] = response.Header.Revision
		return nil
	}
	c.known[key] = 0
	for _, kv := range response.Responses[0].GetResponseRange().Kvs {
		c.known[key] = kv.ModRevision
	}
	return nil
}

// several writes three keys in one revision, of which one may be deleted.
func (c *client) several(ctx context.Context) error {
	first := c.random.IntN(Keys)
	r := &pb.TxnRequest{}
	for i := range 3 {
		key := c.keyNumber(first + i)
		if i == 2 && c.random.IntN(2) == 0 {
			r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}})
			continue
		}
		r.Success = append(r.Success, putOp(key, c.value()))
	}
	_, err := c.transact(ctx, r)
	return err
}

func (c *client) transact(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return record(ctx, c, r, func(ctx context.Context) (*pb.TxnResponse, error) { return c.kv.Txn(ctx, r) })
}

func putOp(key string, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}
}
