package differential

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"
)

// TestSameAnswers sends both systems the same random requests. Each run begins with an empty store, so that what rapid
// makes of a failure is short: a few requests, of which the last is answered differently.
func TestSameAnswers(t *testing.T) {
	theirs, ours := systems(t)
	both := pair{theirs, ours}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		g := generator{rt, both.reset(ctx, rt)}
		for range rapid.IntRange(1, 25).Draw(rt, "requests") {
			_, _ = both.same(ctx, rt, g.request())
		}
	})
}

// TestSameEvents watches what random requests do, from before them and after them.
func TestSameEvents(t *testing.T) {
	theirs, ours := systems(t)
	both := pair{theirs, ours}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := t.Context()
		g := generator{rt, both.reset(ctx, rt)}
		var live []*watched
		for range rapid.IntRange(0, 2).Draw(rt, "watches before") {
			start := int64(0)
			if g.seldom("with a start") {
				start = g.base + 1
			}
			live = append(live, both.watch(ctx, rt, g.watch(start)))
		}
		last, compacted := g.base, false
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			request := g.request()
			response, err := both.same(ctx, rt, request)
			if err != nil {
				continue
			}
			if _, ok := request.(*pb.CompactionRequest); ok {
				compacted = true
			}
			if r, ok := response.(interface{ GetHeader() *pb.ResponseHeader }); ok {
				last = max(last, r.GetHeader().GetRevision())
			}
		}
		for range rapid.IntRange(0, 2).Draw(rt, "watches after") {
			start := g.base + rapid.Int64Range(-1, last-g.base).Draw(rt, "start")
			live = append(live, both.watch(ctx, rt, g.watch(start)))
		}
		for _, w := range live {
			w.compare(rt, last, compacted)
		}
	})
}

// TestSameEdges holds what is too rare to be drawn.
func TestSameEdges(t *testing.T) {
	theirs, ours := systems(t)
	both := pair{theirs, ours}
	for i, request := range edges {
		t.Run(fmt.Sprintf("%d %T", i, request), func(t *testing.T) {
			_, _ = both.same(t.Context(), t, request)
		})
	}
}
