package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/layout"
	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func watch(t testing.TB, s *Store, r WatchRequest) *WatchStream {
	t.Helper()
	ws := s.NewWatchStream()
	t.Cleanup(ws.Close)
	if _, err := ws.Watch(r); err != nil {
		t.Fatal(err)
	}
	return ws
}

// next returns the next result as text: revisions, kinds and keys.
func next(t testing.TB, ws *WatchStream) string {
	t.Helper()
	r, err := ws.Next(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.CompactRevision != 0 {
		return fmt.Sprintf("compacted %d", r.CompactRevision)
	}
	text := ""
	for _, e := range r.Events {
		text += fmt.Sprintf("%d %s %s=%s", e.Kv.ModRevision, e.Type, e.Kv.Key, e.Kv.Value)
		if e.PrevKv != nil {
			text += fmt.Sprintf(" (%s)", e.PrevKv.Value)
		}
		text += "; "
	}
	return text
}

func expect(t testing.TB, ws *WatchStream, want string) {
	t.Helper()
	if got := next(t, ws); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func expectNothing(t testing.TB, ws *WatchStream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if r, err := ws.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, %v; want nothing", r, err)
	}
}

func TestWatchKinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		request WatchRequest
		want    string
	}{
		{"key", WatchRequest{Key: []byte("a"), StartRevision: 1}, "2 PUT a=1; 5 PUT a=4; 6 DELETE a=; "},
		{"prefix", WatchRequest{Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 3}, "3 PUT ab=2; 5 PUT a=4; 6 DELETE a=; 6 DELETE ab=; "},
		{"from key", WatchRequest{Key: []byte("ab"), RangeEnd: []byte{0}, StartRevision: 4}, "4 PUT b=3; 6 DELETE ab=; "},
		{"everything", WatchRequest{RangeEnd: []byte{0}, StartRevision: 6}, "6 DELETE a=; 6 DELETE ab=; "},
		{"no put", WatchRequest{Key: []byte("a"), StartRevision: 1, NoPut: true}, "6 DELETE a=; "},
		{"no delete", WatchRequest{Key: []byte("a"), StartRevision: 1, NoDelete: true}, "2 PUT a=1; 5 PUT a=4; "},
		{"previous", WatchRequest{Key: []byte("a"), StartRevision: 1, PrevKV: true}, "2 PUT a=1; 5 PUT a=4 (1); 6 DELETE a= (4); "},
		{"now", WatchRequest{Key: []byte("a"), RangeEnd: []byte("b")}, "5 PUT a=4; 6 DELETE a=; 6 DELETE ab=; "},
		{"future", WatchRequest{Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 6}, "6 DELETE a=; 6 DELETE ab=; "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, Options{})
			apply(t, s, put("a", "1"), put("ab", "2"), put("b", "3")) // 2, 3, 4
			ws := watch(t, s, c.request)
			apply(t, s, put("a", "4"), del("a", "b"))
			got := ""
			for len(got) < len(c.want) {
				got += next(t, ws)
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			expectNothing(t, ws)
		})
	}
}

func TestWatchCompacted(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("a", "2"), del("a", ""), put("b", "1"))
	must[*pb.CompactionResponse](t, s, compact(4))
	expect(t, watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 3}), "compacted 4")
	// The delete is at the compaction revision: who watches from there sees it, from memory or the disk.
	expect(t, watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 4}), "4 DELETE a=; ")
	if err := s.WaitCompacted(testContext(t), 4); err != nil {
		t.Fatal(err)
	}
	s.hub.tail.limit = 0
	apply(t, s, put("c", "1"))
	expect(t, watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 4}), "4 DELETE a=; ")
	// But nothing of the key is left.
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	if it.SeekPrefixGE(layout.AppendKeyPrefix(nil, []byte("a"))) {
		t.Fatalf("%q is left of a key that was deleted before the compaction revision", it.Key())
	}
}

func TestWatchStreamErrors(t *testing.T) {
	s := open(t, Options{})
	ws := s.NewWatchStream()
	for _, c := range []struct {
		request WatchRequest
		err     error
	}{
		{WatchRequest{ID: 7, Key: []byte("a")}, nil},
		{WatchRequest{ID: 7, Key: []byte("a")}, ErrWatchExists},
		{WatchRequest{Key: []byte("a"), StartRevision: -1}, ErrInvalidRange},
		{WatchRequest{Key: []byte("b"), RangeEnd: []byte("a")}, ErrInvalidRange},
	} {
		if _, err := ws.Watch(c.request); !errors.Is(err, c.err) {
			t.Errorf("%+v: got %v, want %v", c.request, err, c.err)
		}
	}
	if err := ws.Cancel(8); !errors.Is(err, ErrWatchNotFound) {
		t.Error(err)
	}
	apply(t, s, put("a", "1"))
	if err := ws.Cancel(7); err != nil {
		t.Error(err)
	}
	expectNothing(t, ws)
	ws.Close()
	if _, err := ws.Next(testContext(t)); !errors.Is(err, ErrStreamClosed) {
		t.Error(err)
	}
	if _, err := ws.Watch(WatchRequest{}); !errors.Is(err, ErrStreamClosed) {
		t.Error(err)
	}
	open := s.NewWatchStream()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ws := range []*WatchStream{open, s.NewWatchStream()} {
		if _, err := ws.Next(testContext(t)); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

func TestWatchProgress(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"))
	ws := watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 1})
	if _, synced := ws.Progress(); synced {
		t.Error("synced before the history was returned")
	}
	expect(t, ws, "2 PUT a=1; ")
	waitFor(t, func() bool { rev, synced := ws.Progress(); return synced && rev == 2 })
	apply(t, s, put("other", "1"))
	waitFor(t, func() bool { rev, synced := ws.Progress(); return synced && rev == 3 })
	apply(t, s, put("a", "2"))
	waitFor(t, func() bool { _, synced := ws.Progress(); return !synced })
	expect(t, ws, "4 PUT a=2; ")
	if _, err := ws.Watch(WatchRequest{Key: []byte("a"), StartRevision: 100}); err != nil {
		t.Fatal(err)
	}
	if _, synced := ws.Progress(); synced {
		t.Error("synced with a watch that starts in the future")
	}
}

// waitFor polls for what happens on another goroutine and is signalled to nobody.
func waitFor(t testing.TB, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("it never came to what was waited for")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestWatchSlowReader leaves a watcher behind its queue, then behind the tail. It costs neither memory nor
// events.
func TestWatchSlowReader(t *testing.T) {
	s := open(t, Options{WatchTailBytes: 1 << 20})
	ws := watch(t, s, WatchRequest{RangeEnd: []byte{0}, StartRevision: 2})
	if _, err := ws.Next(cancelled()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	const revisions = 20_000
	for i := 0; i < revisions; i += 500 {
		apply(t, s, benchCommands(500, i, true)...)
	}
	waitFor(t, func() bool { return s.Metrics().SlowWatchers == 1 })
	if m := s.Metrics(); m.WatchTailBytes > 1<<20 || ws.bytes > streamQueueBytes+4096 {
		t.Errorf("%d bytes in the tail, %d in the queue", m.WatchTailBytes, ws.bytes)
	}
	rev := int64(1)
	for rev < revisions+1 {
		r, err := ws.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if rev++; e.Kv.ModRevision != rev {
				t.Fatalf("got revision %d, want %d", e.Kv.ModRevision, rev)
			}
		}
	}
	apply(t, s, put("last", ""))
	expect(t, ws, fmt.Sprintf("%d PUT last=; ", rev+1))
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestWatchNeverSplitsARevision: a revision of tens of thousands of events is one result, and that is the first to claim
// the revision; whether the watch is live, catches up from memory or from the disk, or goes on in another store.
func TestWatchNeverSplitsARevision(t *testing.T) {
	const keys = 20_000
	s := open(t, Options{})
	all := WatchRequest{RangeEnd: []byte{0}, NoPut: true}
	live := watch(t, s, all)
	prev := watch(t, s, WatchRequest{RangeEnd: []byte{0}, NoPut: true, PrevKV: true})
	resumed := watch(t, s, all)
	if _, err := live.Watch(WatchRequest{Key: []byte("z"), NoPut: true}); err != nil { // must not come in between
		t.Fatal(err)
	}
	for i := 0; i < keys; i += 5000 {
		apply(t, s, benchCommands(5000, i, true)...)
	}
	first, second := s.Revision()+1, s.Revision()+2
	apply(t, s, del("/registry/bench/0", "/registry/bench/1"), del("\x00", "\x00"), put("z", ""), put("z", ""))
	from := func(start int64) *WatchStream {
		return watch(t, s, WatchRequest{RangeEnd: []byte{0}, NoPut: true, StartRevision: start})
	}
	check := func(how string, next func() (revision int64, events int, kinds map[int64]int)) {
		t.Helper()
		claimed, seen := int64(0), map[int64]int{}
		for claimed < second {
			revision, events, byRevision := next()
			if events == 0 {
				t.Fatalf("%s: a result without events claims revision %d", how, revision)
			}
			for rev, n := range byRevision {
				if rev <= claimed || rev > revision {
					t.Errorf("%s: %d events of revision %d in a result that claims %d, after one that claimed %d", how, n, rev, revision, claimed)
				}
				seen[rev] += n
			}
			claimed = revision
		}
		if len(seen) != 2 || seen[first]+seen[second] != keys {
			t.Errorf("%s: events by revision: %v", how, seen)
		}
	}
	results := func(ws *WatchStream) func() (int64, int, map[int64]int) {
		return func() (int64, int, map[int64]int) {
			r, err := ws.Next(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			return r.Revision, len(r.Events), eventsByRevision(r.Events)
		}
	}
	encoded := func(ws *WatchStream) func() (int64, int, map[int64]int) {
		return func() (int64, int, map[int64]int) {
			r, events := decoded(t, ws)
			return r.Revision, len(events), eventsByRevision(events)
		}
	}
	check("live", results(live))
	check("live, with what was replaced", encoded(prev))
	check("from memory", encoded(from(2)))
	check("from memory, from the revision on", results(from(first)))
	s.hub.tail.limit = 0
	apply(t, s, put("z", ""))
	check("from the disk", encoded(from(2)))
	check("from the disk, from the revision on", results(from(first)))
	if _, synced := resumed.Progress(); synced {
		t.Error("progress is told before the revision is")
	}
	next := replace(t, s)
	check("in another store", results(next.ResumeWatchStream(resumed)))
}

func eventsByRevision(events []*mvccpb.Event) map[int64]int {
	n := map[int64]int{}
	for _, e := range events {
		n[e.Kv.ModRevision]++
	}
	return n
}

// TestWatchUnderWrites watches random ranges from random revisions, on shared streams some of which
// are read only at the end, while random changes are applied; each watch sees exactly the model's events.
func TestWatchUnderWrites(t *testing.T) {
	s := open(t, Options{WatchTailBytes: 16 << 10, MemTableBytes: 64 << 10})
	m := newModel()
	r := rand.New(rand.NewPCG(7, 7))
	ctx := testContext(t)
	const rounds = 400
	var mu sync.Mutex // guards m
	write := func(i int) {
		var commands []Command
		for range 1 + r.IntN(20) {
			key := string(layouttest.Keys[r.IntN(len(layouttest.Keys))])
			c := put(key, fmt.Sprint(i))
			switch r.IntN(10) {
			case 0:
				c = del(key, "")
			case 1:
				c = del(key, "\x00")
			}
			commands = append(commands, c)
		}
		mu.Lock()
		for _, c := range commands {
			if _, err := m.apply(c); err != nil {
				t.Error(err)
			}
		}
		mu.Unlock()
		apply(t, s, commands...)
	}
	for i := range rounds / 2 {
		write(i)
	}
	var readers sync.WaitGroup
	var checks []func()
	written := make(chan struct{})
	for n := range 12 {
		ws := s.NewWatchStream()
		defer ws.Close()
		got, requests := map[int64][]*mvccpb.Event{}, map[int64]WatchRequest{}
		for range 8 {
			q := WatchRequest{Key: layouttest.Keys[r.IntN(len(layouttest.Keys))], StartRevision: r.Int64N(s.Revision() + 50), PrevKV: r.IntN(2) == 0}
			q.RangeEnd = [][]byte{nil, {0}, layouttest.Keys[r.IntN(len(layouttest.Keys))]}[r.IntN(3)]
			if q.StartRevision == 0 {
				q.StartRevision = s.Revision() + 1
			}
			id, err := ws.Watch(q)
			if errors.Is(err, ErrInvalidRange) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			requests[id] = q
		}
		late := n%3 == 0
		readers.Add(1)
		go func() {
			defer readers.Done()
			if late {
				<-written
			}
			for {
				result, err := ws.Next(ctx)
				if err != nil {
					return
				}
				events := got[result.WatchID]
				if len(events) > 0 && events[len(events)-1].Kv.ModRevision >= result.Events[0].Kv.ModRevision {
					t.Errorf("a revision came in two results")
				}
				got[result.WatchID] = append(events, result.Events...)
			}
		}()
		checks = append(checks, func() {
			waitFor(t, func() bool { rev, synced := ws.Progress(); return synced && rev == s.Revision() })
			ws.Close()
		}, func() {
			for id, q := range requests {
				compareWatch(t, m, q, got[id])
			}
		})
	}
	for i := range rounds / 2 {
		write(i + rounds)
	}
	close(written)
	for i := 0; i < len(checks); i += 2 {
		checks[i]()
	}
	readers.Wait()
	for i := 1; i < len(checks); i += 2 {
		checks[i]()
	}
}

func compareWatch(t *testing.T, m *model, q WatchRequest, got []*mvccpb.Event) {
	t.Helper()
	var want []*mvccpb.Event
	for _, e := range m.events {
		if e.Kv.ModRevision < q.StartRevision || !modelContains(q.Key, q.RangeEnd, string(e.Kv.Key)) {
			continue
		}
		if !q.PrevKV {
			e = &mvccpb.Event{Type: e.Type, Kv: e.Kv}
		}
		want = append(want, e)
	}
	if len(got) != len(want) {
		t.Errorf("%+v: %d events, want %d", q, len(got), len(want))
		return
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("%+v: event %d is %v, want %v", q, i, got[i], want[i])
			return
		}
	}
}
