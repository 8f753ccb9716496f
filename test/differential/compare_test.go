package differential

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// fataler is a test, or a run of a property.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// pair is both systems, which have been told the same so far.
type pair struct{ theirs, ours *system }

// same sends a request to both, fails unless the answers are the same, and returns them.
func (p pair) same(ctx context.Context, t fataler, request proto.Message) (proto.Message, error) {
	t.Helper()
	theirs, theirErr := p.theirs.do(ctx, proto.Clone(request))
	ours, ourErr := p.ours.do(ctx, proto.Clone(request))
	if want, got := answer(theirs, theirErr), answer(ours, ourErr); want != got {
		t.Fatalf("%T {%s}\n    etcd: %s\nctlplane: %s", request, short(prototext.MarshalOptions{}.Format(request)), short(want), short(got))
	}
	return ours, ourErr
}

// short cuts what nobody would read.
func short(text string) string {
	if len(text) > 1500 {
		return text[:1500] + "…"
	}
	return text
}

// answer is an answer as text, without what two clusters must differ in.
func answer(response proto.Message, err error) string {
	if err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("%v: %s", s.Code(), s.Message())
	}
	response = proto.Clone(response)
	normalize(response)
	// Not prototext, whose spaces are random by design.
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(response)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("{%s} %x", prototext.MarshalOptions{}.Format(response), encoded)
}

// closeEnough is how many seconds may pass between a grant and a question after it.
const closeEnough = 100

func normalize(response proto.Message) {
	if r, ok := response.(interface{ GetHeader() *pb.ResponseHeader }); ok && r.GetHeader() != nil {
		h := r.GetHeader()
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	}
	switch r := response.(type) {
	case *pb.LeaseTimeToLiveResponse:
		if r.GrantedTTL > 0 && r.TTL <= r.GrantedTTL && r.TTL > r.GrantedTTL-closeEnough {
			r.TTL = r.GrantedTTL
		}
		slices.SortFunc(r.Keys, bytes.Compare) // etcd's order is random
	case *pb.LeaseLeasesResponse: // etcd's order is that of their ends
		slices.SortFunc(r.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	case *pb.HashKVResponse:
		r.Hash = 0 // the databases have nothing in common
	}
}

// reset empties both, and forgets their history. It returns the revision at which they then are.
func (p pair) reset(ctx context.Context, t fataler) int64 {
	t.Helper()
	leases, _ := p.same(ctx, t, &pb.LeaseLeasesRequest{})
	for _, l := range leases.(*pb.LeaseLeasesResponse).Leases {
		_, _ = p.same(ctx, t, &pb.LeaseRevokeRequest{ID: l.ID})
	}
	everything := &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	_, _ = p.same(ctx, t, everything)
	put, _ := p.same(ctx, t, &pb.PutRequest{Key: []byte("k")})
	_, _ = p.same(ctx, t, everything)
	base := put.(*pb.PutResponse).Header.Revision + 1
	_, _ = p.same(ctx, t, &pb.CompactionRequest{Revision: base, Physical: true})
	return base
}
