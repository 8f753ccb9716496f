package kv

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// An event's own encoding is what protobuf's makes of it, whatever the event.
func TestEncodeEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keyValue := func() *mvccpb.KeyValue {
			return &mvccpb.KeyValue{
				Key: genKey(t), Value: genValue(t),
				CreateRevision: rapid.Int64().Draw(t, "create"), ModRevision: rapid.Int64().Draw(t, "mod"),
				Version: rapid.Int64().Draw(t, "version"), Lease: rapid.Int64().Draw(t, "lease"),
			}
		}
		e := &mvccpb.Event{Kv: keyValue()}
		if rapid.Bool().Draw(t, "delete") {
			e = &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: genKey(t), ModRevision: 7}}
		}
		if rapid.Bool().Draw(t, "previous") {
			e.PrevKv = keyValue()
		}
		want := &pb.WatchResponse{Events: []*mvccpb.Event{e}}
		got := new(pb.WatchResponse)
		encoded := encodeEvent(e)
		if err := proto.Unmarshal(encoded, got); err != nil || !proto.Equal(got, want) {
			t.Fatalf("got %v (%v), want %v", got, err, want)
		}
		if cap(encoded) != len(encoded) {
			t.Errorf("%d bytes in room for %d", len(encoded), cap(encoded))
		}
	})
}

// decoded returns what NextEncoded gives next.
func decoded(t testing.TB, ws *WatchStream) (EncodedEvents, []*mvccpb.Event) {
	t.Helper()
	r, err := ws.NextEncoded(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	resp := new(pb.WatchResponse)
	var all []byte
	for _, e := range r.Events {
		all = append(all, e...)
	}
	if err := proto.Unmarshal(all, resp); err != nil {
		t.Fatal(err)
	}
	return r, resp.Events
}

// Watches that are told the same share the encoding, and are told so.
func TestNextEncodedRepeats(t *testing.T) {
	s := open(t, Options{})
	ws := watch(t, s, WatchRequest{ID: 1, Key: []byte("a")})
	for id := int64(2); id <= 4; id++ {
		if _, err := ws.Watch(WatchRequest{ID: id, Key: []byte("a"), PrevKV: id == 4}); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, s, put("a", "1"))
	plain, repeated := 0, 0
	var bytes *byte
	for range 4 {
		r, events := decoded(t, ws)
		if len(events) != 1 || string(events[0].Kv.Value) != "1" || r.Revision != 2 {
			t.Fatalf("got %v", events)
		}
		if r.Repeated {
			repeated++
		}
		if bytes != nil && bytes != &r.Events[0][0] {
			t.Errorf("watch %d: encoded again", r.WatchID)
		}
		bytes, plain = &r.Events[0][0], plain+1
	}
	if repeated < 1 { // watches take turns in any order; the one with previous values may come between
		t.Errorf("%d of %d results are repeated", repeated, plain)
	}
	expectNothing(t, ws)
	apply(t, s, put("a", "2"))
	withPrevious := 0
	for range 4 {
		if r, events := decoded(t, ws); events[0].PrevKv != nil {
			withPrevious++
			if r.WatchID != 4 || string(events[0].PrevKv.Value) != "1" {
				t.Errorf("watch %d: %v", r.WatchID, events[0])
			}
		}
	}
	if withPrevious != 1 {
		t.Errorf("%d watches got previous values", withPrevious)
	}
}

// What large values replace small ones, or are deleted, comes in results of bounded size; a revision is never split.
func TestNextEncodedBoundsPreviousValues(t *testing.T) {
	s := open(t, Options{})
	large := strings.Repeat("x", resultBytes/2)
	const keys = 9
	for i := range keys {
		apply(t, s, put(fmt.Sprint("k", i), large))
	}
	ws := watch(t, s, WatchRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKV: true})
	for i := range keys - 2 {
		apply(t, s, del(fmt.Sprint("k", i), ""))
	}
	apply(t, s, del("k", "l")) // the last two, in one revision
	for seen := 0; seen < keys; {
		next := min(keys+2+int64(seen), s.Revision()) // each key was put, and deleted, by a revision of its own but for the last two
		if at, synced := ws.Progress(); synced && at >= next {
			t.Fatalf("progress %d is ahead of what was returned: the event of revision %d was not", at, next)
		}
		r, events := decoded(t, ws)
		if len(events) > 3 {
			t.Errorf("%d events of half a megabyte each in one result", len(events))
		}
		for _, e := range events {
			if want := fmt.Sprint("k", seen); string(e.Kv.Key) != want || len(e.PrevKv.Value) != len(large) {
				t.Fatalf("event of %s, want %s", e.Kv.Key, want)
			}
			seen++
		}
		if last := events[len(events)-1].Kv.ModRevision; r.Revision != last {
			t.Errorf("result up to %d ends at %d", r.Revision, last)
		}
		if r.Revision == keys+1+keys-1 && string(events[len(events)-1].Kv.Key) != "k8" {
			t.Error("a revision was split")
		}
	}
	if tail := s.hub.tail.size(); tail > s.options.WatchTailBytes {
		t.Errorf("the tail holds %d bytes", tail)
	}
}
