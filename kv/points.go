package kv

import (
	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Point is a read of a single key at the present revision: a request that IsPoint, and what Points answers.
type Point struct {
	Request  *pb.RangeRequest
	Response *pb.RangeResponse
	Err      error
}

// IsPoint tells whether a range request is of a single key at the present revision.
func IsPoint(r *pb.RangeRequest) bool { return newKeyRange(r.Key, r.RangeEnd).point && r.Revision <= 0 }

// Points answers reads as Range does, all at one revision. They share an iterator, because to open one costs more than to look a
// key up. Their requests are valid (see ValidateRange). Its own error is of all of them: ErrClosed, or of the disk.
func (s *Store) Points(points []*Point) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	s.counters.ranges.Add(uint64(len(points)))
	for {
		at := s.current.Load()
		if err := lookUpAll(s.db, points, at.Revision); err != nil {
			return err
		}
		// A compaction that was applied meanwhile may have removed some of what was to be read.
		if at.Revision >= s.CompactRevision() {
			return nil
		}
	}
}

func lookUpAll(reader pebble.Reader, points []*Point, rev int64) error {
	lower, upper := layout.SectionBounds(layout.SectionVersion)
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer it.Close()
	var scratch []byte
	for _, p := range points {
		q := rangeQuery{request: p.Request, header: &pb.ResponseHeader{Revision: rev}, total: -1}
		if p.Response, p.Err = nil, q.lookUp(it, &scratch, rev); p.Err == nil {
			p.Response = q.response()
		}
	}
	return nil
}
