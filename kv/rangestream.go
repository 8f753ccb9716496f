package kv

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Errors of ranges that can't be read in chunks, with etcd's texts.
var (
	ErrUnsupportedSort   = errors.New("RangeStream does not support custom sort orders")
	ErrUnsupportedFilter = errors.New("RangeStream does not support revision filters")
)

// Chunks of a range begin small, so that the first is there at once, and double up to their size in bytes.
const firstChunkKeys = 10

// RangeChunks reads a range in chunks, of which each is read for itself, at the revision of the first: so a range
// of any size holds neither memory nor files for longer than a chunk takes, and each chunk may be asked of another store,
// as long as that has the revision. A compaction beyond the revision ends it with ErrCompacted.
type RangeChunks struct {
	request    *pb.RangeRequest // at the revision, from the key that comes next
	chunkBytes int
	chunkKeys  int64
	header     int64 // the store's revision when the range began
	sent       int64
	done       bool
}

// NewRangeChunks begins to read what r asks for, in chunks of about chunkBytes. As in etcd it is refused with
// ErrUnsupportedSort or ErrUnsupportedFilter where the order or a filter would need all of it at once; and a sort target
// without an order is no order: the chunks come in the order of the keys, each sorted by the target.
func NewRangeChunks(r *pb.RangeRequest, chunkBytes int) (*RangeChunks, error) {
	if err := ValidateRange(r); err != nil {
		return nil, err
	}
	byKey := r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	switch {
	case r.SortOrder != pb.RangeRequest_NONE && !byKey:
		return nil, ErrUnsupportedSort
	case r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0:
		return nil, ErrUnsupportedFilter
	}
	return &RangeChunks{
		request: &pb.RangeRequest{
			Key: r.Key, RangeEnd: r.RangeEnd, Revision: r.Revision, Limit: r.Limit, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
			SortTarget: r.SortTarget,
		},
		chunkBytes: chunkBytes, chunkKeys: firstChunkKeys,
	}, nil
}

// Done tells whether the last chunk has been returned.
func (c *RangeChunks) Done() bool { return c.done }

// Next returns the next chunk. Only the last has a header, with the revision of the store when the range began, and the
// count. A call that has failed may be made again, for the same chunk. Errors are as those of Store.Range.
func (c *RangeChunks) Next(ctx context.Context, s *Store) (*pb.RangeResponse, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	at := s.current.Load()
	if c.header == 0 {
		c.header = at.Revision
		if c.request.Revision <= 0 {
			c.request.Revision = at.Revision
		}
	}
	chunk := &rangeChunk{of: c}
	switch rev := c.request.Revision; {
	case rev > at.Revision:
		return nil, ErrFutureRevision
	case rev < at.Compact:
		return nil, ErrCompacted
	}
	if err := chunk.read(ctx, s); err != nil {
		return nil, err
	}
	if c.request.Revision < s.CompactRevision() { // what was read may have been cut meanwhile
		return nil, ErrCompacted
	}
	return chunk.finish(), nil
}

// rangeChunk is a chunk that is being read.
type rangeChunk struct {
	of      *RangeChunks
	kvs     []*mvccpb.KeyValue
	bytes   int
	cut     bool  // there is more for further chunks
	limited bool  // the limit of the range is reached, and rest keys are beyond it
	rest    int64 // keys that are only counted
}

func (k *rangeChunk) read(ctx context.Context, s *Store) error {
	r := k.of.request
	keys := newKeyRange(r.Key, r.RangeEnd)
	return each(ctx, s.db, keys, r.Revision, k.visit)
}

func (k *rangeChunk) visit(s *scanner) (bool, error) {
	c := k.of
	r := c.request
	switch n := int64(len(k.kvs)); {
	case r.CountOnly, k.limited:
		k.rest++
		return true, nil
	case r.Limit > 0 && c.sent+n == r.Limit:
		k.limited = true
		k.rest++
		return true, nil
	case n > 0 && (n >= c.chunkKeys || k.bytes >= c.chunkBytes):
		k.cut = true
		return false, nil
	}
	h, value, err := s.record()
	if err != nil {
		return false, err
	}
	if r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE {
		value = nil
	}
	kv := keyValueCopy(h, s.key, value)
	k.kvs = append(k.kvs, kv)
	k.bytes += len(kv.Key) + len(kv.Value) + keyValueOverhead
	return true, nil
}

// keyValueOverhead is about what surrounds a key and its value in a message.
const keyValueOverhead = 32

// finish moves the range on to what follows the chunk, and returns the chunk.
func (k *rangeChunk) finish() *pb.RangeResponse {
	c := k.of
	c.sent += int64(len(k.kvs))
	var last []byte
	if len(k.kvs) > 0 {
		last = k.kvs[len(k.kvs)-1].Key
	}
	sorted := rangeQuery{request: &pb.RangeRequest{SortTarget: c.request.SortTarget, KeysOnly: c.request.KeysOnly}, kvs: k.kvs}
	resp := &pb.RangeResponse{Kvs: sorted.response().Kvs}
	if !k.cut {
		c.done = true
		resp.Header = header64(c.header)
		resp.More, resp.Count = k.limited, c.sent+k.rest
		return resp
	}
	c.request.Key = append(append(make([]byte, 0, len(last)+1), last...), 0)
	if k.bytes < c.chunkBytes {
		c.chunkKeys *= 2
	}
	return resp
}

// keyValueCopy makes a message of its own of a version, in one allocation for key and value.
func keyValueCopy(h layout.Header, key, value []byte) *mvccpb.KeyValue {
	b := make([]byte, len(key)+len(value))
	n := copy(b, key)
	copy(b[n:], value)
	kv := h.KeyValue(b[:n:n], nil)
	if len(value) > 0 {
		kv.Value = b[n:]
	}
	return kv
}
