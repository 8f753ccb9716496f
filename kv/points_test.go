package kv

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// TestPointsAreRanges: what is read together is what each read gets by itself, whatever it asks for.
func TestPointsAreRanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := openHarness(rt)
		defer h.close(rt)
		for range 10 {
			h.apply(rt)
		}
		var points []*Point
		for range rapid.IntRange(1, 20).Draw(rt, "reads") {
			r := genRange(rt, h.model.rev())
			r.RangeEnd, r.Revision = nil, 0
			if ValidateRange(r) == nil {
				points = append(points, &Point{Request: r})
			}
		}
		if err := h.store.Points(points); err != nil {
			rt.Fatal(err)
		}
		for _, p := range points {
			want, err := h.store.Range(t.Context(), p.Request)
			if err != nil || p.Err != nil || !proto.Equal(p.Response, want) {
				rt.Fatalf("%v: got %v (%v), want %v (%v)", p.Request, p.Response, p.Err, want, err)
			}
		}
	})
}

func TestIsPoint(t *testing.T) {
	for _, c := range []struct {
		request *pb.RangeRequest
		want    bool
	}{
		{&pb.RangeRequest{Key: []byte("a")}, true},
		{&pb.RangeRequest{Key: []byte("a"), Revision: -1}, true},
		{&pb.RangeRequest{Key: []byte("a"), Revision: 1}, false},
		{&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, false},
		{&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}, false},
	} {
		if got := IsPoint(c.request); got != c.want {
			t.Errorf("%v: %v", c.request, got)
		}
	}
}

func TestPointsOfAClosedStore(t *testing.T) {
	s := open(t, Options{})
	replace(t, s)
	if err := s.Points([]*Point{{Request: &pb.RangeRequest{Key: []byte("a")}}}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
