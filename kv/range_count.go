package kv

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// rangeCounts remembers how many keys are left behind the pages of limited ranges. Each page's answer has the count
// of all that its range holds; but what a range holds at a revision never changes, so who pages on at the first
// page's revision needs it counted once.
//
// It is bounded: rememberedCounts entries of at most countKeyBytes, of which the oldest go.
type rangeCounts struct {
	mu    sync.Mutex
	left  map[string]int64
	order []string // a ring
	next  int
}

const (
	rememberedCounts = 1024
	countKeyBytes    = 1024
)

// executeRange is executeRange of what is committed, with the counts that are known.
func (c *rangeCounts) executeRange(ctx context.Context, reader pebble.Reader, r *pb.RangeRequest, current, compact int64) (*pb.RangeResponse, error) {
	q := rangeQuery{request: r, header: &pb.ResponseHeader{Revision: current}, total: -1}
	pages := q.isPage()
	rev := readRevision(r, current)
	if pages {
		q.total = c.lookup(rev, r.Key, r.RangeEnd)
	}
	if err := q.run(ctx, reader, current, compact); err != nil {
		return nil, err
	}
	resp := q.response()
	if pages && resp.More {
		last := resp.Kvs[len(resp.Kvs)-1].Key
		c.remember(rev, append(append(make([]byte, 0, len(last)+1), last...), 0), r.RangeEnd, resp.Count-int64(len(resp.Kvs)))
	}
	return resp, nil
}

// isPage tells whether the answer is the first keys of a range, in their order.
func (q *rangeQuery) isPage() bool {
	r := q.request
	return r.Limit > 0 && len(r.RangeEnd) > 0 && !r.CountOnly && q.sortOrder() == pb.RangeRequest_NONE &&
		r.MinModRevision == 0 && r.MaxModRevision == 0 && r.MinCreateRevision == 0 && r.MaxCreateRevision == 0
}

// lookup returns how many keys are from key to end at a revision, or -1.
func (c *rangeCounts) lookup(revision int64, key, end []byte) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if count, ok := c.left[countKey(revision, key, end)]; ok {
		return count
	}
	return -1
}

func (c *rangeCounts) remember(revision int64, key, end []byte, count int64) {
	name := countKey(revision, key, end)
	if len(name) > countKeyBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == nil {
		c.left, c.order = make(map[string]int64, rememberedCounts), make([]string, rememberedCounts)
	}
	if _, ok := c.left[name]; !ok {
		delete(c.left, c.order[c.next])
		c.order[c.next] = name
		c.next = (c.next + 1) % rememberedCounts
	}
	c.left[name] = count
}

func countKey(revision int64, key, end []byte) string {
	b := make([]byte, 0, 12+len(key)+len(end))
	b = binary.BigEndian.AppendUint64(b, uint64(revision))
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	return string(append(append(b, key...), end...))
}
