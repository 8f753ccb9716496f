package kv

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// A key's events are the same, found through its versions or through all of history, for any past.
func TestVersionsAreEvents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := openHarness(rt)
		defer h.close(rt)
		for range rapid.IntRange(1, 30).Draw(rt, "entries") {
			h.apply(rt)
		}
		s := h.store
		compact, last := s.CompactRevision(), s.Revision()
		if err := s.WaitCompacted(t.Context(), compact); err != nil {
			rt.Fatal(err)
		}
		key := genKey(rt)
		from := rapid.Int64Range(compact+1, max(compact+1, last)).Draw(rt, "from")
		w := &watcher{keys: newKeyRange(key, nil)}
		var byVersion, byHistory streamReader
		next, ok, err := s.fromVersions(&gathering{w: w, reader: &byVersion}, from)
		if err != nil || !ok || next != last+1 {
			rt.Fatalf("versions: %v %v %v", next, ok, err)
		}
		if _, compacted, err := s.fromHistory(&gathering{w: w, reader: &byHistory}, from); err != nil || compacted != 0 {
			rt.Fatalf("history: %v %v", compacted, err)
		}
		if len(byVersion.taken) != len(byHistory.taken) {
			rt.Fatalf("%d events by version, %d by history", len(byVersion.taken), len(byHistory.taken))
		}
		for i, e := range byVersion.taken {
			if want := byHistory.taken[i]; !proto.Equal(&e.message, &want.message) || e.prev != want.prev {
				rt.Fatalf("event %d by version: %v after %d, by history: %v after %d", i, &e.message, e.prev, &want.message, want.prev)
			}
		}
	})
}

// A watcher of a quiet key that is far behind sees its few events, in their order, also in many steps.
func TestWatchOfQuietKeyFarBehind(t *testing.T) {
	s := open(t, Options{WatchTailBytes: 1})
	apply(t, s, put("quiet", "1"))
	var commands []Command
	for i := range 3 * resultEvents {
		commands = append(commands, put(fmt.Sprint("busy", i%7), "v"), put("often", fmt.Sprint(i)))
	}
	apply(t, s, commands...)
	apply(t, s, del("quiet", ""), put("quiet", "2"))
	end := s.Revision()
	expect(t, watch(t, s, WatchRequest{Key: []byte("quiet"), StartRevision: 1, PrevKV: true}),
		fmt.Sprintf("2 PUT quiet=1; %d DELETE quiet= (1); %d PUT quiet=2; ", end-1, end))
	often := watch(t, s, WatchRequest{Key: []byte("often"), StartRevision: 2})
	for seen := 0; seen < 3*resultEvents; {
		r, err := often.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if string(e.Kv.Value) != fmt.Sprint(seen) {
				t.Fatalf("%s after %d", e.Kv.Value, seen-1)
			}
			seen++
		}
	}
	apply(t, s, put("often", "live"))
	expect(t, often, fmt.Sprintf("%d PUT often=live; ", end+1))
}

// A transaction that puts a key and deletes it again, right at the compaction revision: a watch from there sees both.
func TestWatchFromCompactionOfPutAndDelete(t *testing.T) {
	s := open(t, Options{WatchTailBytes: 1})
	putThenDelete := success(txnOp(success(putOp("a"))), txnOp(success(delOp("a", ""))))
	apply(t, s, put("other", "1"), Command{Txn: putThenDelete}, put("other", "2"))
	must[*pb.CompactionResponse](t, s, compact(3))
	if err := s.WaitCompacted(testContext(t), 3); err != nil {
		t.Fatal(err)
	}
	expect(t, watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 3}), "3 PUT a=v; 3 DELETE a=; ")
	must[*pb.CompactionResponse](t, s, compact(4))
	if err := s.WaitCompacted(testContext(t), 4); err != nil {
		t.Fatal(err)
	}
	if _, closer, err := s.db.Get(layout.AppendVersionKey(nil, []byte("a"), 3, layout.MarkValue)); err == nil {
		closer.Close()
		t.Error("the version outlived the next compaction")
	}
}
