package kv

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Range answers a range request from what is applied on this member. As in etcd the answer's count is of the
// whole range whatever the limit, so the time that it takes is in proportion to the range, but for who pages on from
// an answer at its revision; values beyond the limit are not read, though. Errors are an ErrorCode (compacted or
// future revision, or what ValidateRange finds), ctx's error, ErrClosed, or a disk failure.
func (s *Store) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := ValidateRange(r); err != nil {
		return nil, err
	}
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	s.counters.ranges.Add(1)
	for {
		at := s.current.Load()
		resp, err := s.counts.executeRange(ctx, s.db, r, at.Revision, at.Compact)
		if err != nil {
			return nil, err
		}
		// A compaction that was applied meanwhile may have removed some of what was to be read.
		if readRevision(r, at.Revision) >= s.CompactRevision() {
			return resp, nil
		}
		if r.Revision > 0 {
			return nil, ErrCompacted
		}
	}
}

func readRevision(r *pb.RangeRequest, current int64) int64 {
	if r.Revision > 0 {
		return r.Revision
	}
	return current
}

// executeRange answers r from reader, which is at revision current and compacted at compact.
func executeRange(ctx context.Context, reader pebble.Reader, r *pb.RangeRequest, current, compact int64) (*pb.RangeResponse, error) {
	q := rangeQuery{request: r, header: &pb.ResponseHeader{Revision: current}, total: -1}
	if err := q.run(ctx, reader, current, compact); err != nil {
		return nil, err
	}
	return q.response(), nil
}

// rangeQuery gathers the answer to one range request.
type rangeQuery struct {
	request *pb.RangeRequest
	header  *pb.ResponseHeader
	kvs     []*mvccpb.KeyValue
	count   int64
	total   int64 // what count will come to, if that is known before; else negative
}

func (q *rangeQuery) run(ctx context.Context, reader pebble.Reader, current, compact int64) error {
	r := q.request
	rev := readRevision(r, current)
	switch {
	case rev > current:
		return ErrFutureRevision
	case rev < compact:
		return ErrCompacted
	}
	if keys := newKeyRange(r.Key, r.RangeEnd); !keys.point {
		return each(ctx, reader, keys, rev, q.visit)
	}
	return q.point(reader, rev)
}

// point looks a single key up, through the bloom filters.
func (q *rangeQuery) point(reader pebble.Reader, rev int64) error {
	lower, upper := keyRange{lo: q.request.Key, point: true}.bounds()
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer it.Close()
	return q.lookUp(it, &lower, rev)
}

// lookUp finds the request's single key through an iterator whose bounds have room for it.
func (q *rangeQuery) lookUp(it *pebble.Iterator, scratch *[]byte, rev int64) error {
	r := q.request
	var value []byte
	h, err := layout.Lookup(it, scratch, r.Key, rev, func(v []byte) {
		if !r.KeysOnly && !r.CountOnly {
			value = bytes.Clone(v)
		}
	})
	if err != nil || !h.Exists() {
		return err
	}
	q.count++
	if !r.CountOnly && q.selects(h) {
		q.kvs = append(q.kvs, h.KeyValue(bytes.Clone(r.Key), value))
	}
	return nil
}

func (q *rangeQuery) visit(s *scanner) (bool, error) {
	r := q.request
	if q.full() && q.total >= 0 {
		q.count = q.total
		return false, nil
	}
	q.count++
	if r.CountOnly || q.full() {
		return true, nil
	}
	h, value, err := s.record()
	if err != nil {
		return false, err
	}
	if !q.selects(h) {
		return true, nil
	}
	if r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE {
		q.kvs = append(q.kvs, h.KeyValue(bytes.Clone(s.key), nil))
		return true, nil
	}
	q.kvs = append(q.kvs, keyValueCopy(h, s.key, value))
	return true, nil
}

// full tells whether the limit is reached, where keys come in the order in which they are wanted. What
// follows is only counted.
func (q *rangeQuery) full() bool {
	r := q.request
	return r.Limit > 0 && q.sortOrder() == pb.RangeRequest_NONE && int64(len(q.kvs)) > r.Limit
}

func (q *rangeQuery) selects(h layout.Header) bool {
	r := q.request
	return (r.MinModRevision == 0 || h.Mod >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || h.Mod <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || h.Create >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || h.Create <= r.MaxCreateRevision)
}

// sortOrder is the order to sort by after the scan; NONE if the scan's own order is the one asked for.
func (q *rangeQuery) sortOrder() pb.RangeRequest_SortOrder {
	r := q.request
	switch {
	case r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND:
		return pb.RangeRequest_NONE
	case r.SortTarget != pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_NONE:
		return pb.RangeRequest_ASCEND
	}
	return r.SortOrder
}

func (q *rangeQuery) sort() {
	var by func(a, b *mvccpb.KeyValue) int
	switch q.request.SortTarget {
	case pb.RangeRequest_VERSION:
		by = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.Version, b.Version) }
	case pb.RangeRequest_CREATE:
		by = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) }
	case pb.RangeRequest_MOD:
		by = func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) }
	case pb.RangeRequest_VALUE:
		by = func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) }
	default:
		by = func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) }
	}
	if q.sortOrder() == pb.RangeRequest_DESCEND {
		slices.SortStableFunc(q.kvs, func(a, b *mvccpb.KeyValue) int { return by(b, a) })
		return
	}
	slices.SortStableFunc(q.kvs, by)
}

func (q *rangeQuery) response() *pb.RangeResponse {
	r := q.request
	if q.sortOrder() != pb.RangeRequest_NONE {
		q.sort()
	}
	resp := &pb.RangeResponse{Header: q.header, Count: q.count}
	if r.Limit > 0 && int64(len(q.kvs)) > r.Limit {
		q.kvs = q.kvs[:r.Limit]
		resp.More = true
	}
	if r.KeysOnly {
		for _, kv := range q.kvs {
			kv.Value = nil
		}
	}
	resp.Kvs = q.kvs
	return resp
}
