package etcdv3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/watch"
)

// putAll puts value under each of the keys.
func putAll(t testing.TB, c *clientv3.Client, value string, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if _, err := c.Put(t.Context(), k, value); err != nil {
			t.Fatal(err)
		}
	}
}

// take reads n events.
func take(t testing.TB, events clientv3.WatchChan, n int) []*clientv3.Event {
	t.Helper()
	var all []*clientv3.Event
	for len(all) < n {
		r, ok := <-events
		if !ok || r.Err() != nil {
			t.Fatalf("the watch ended after %d of %d events: %v", len(all), n, r.Err())
		}
		all = append(all, r.Events...)
	}
	if len(all) != n {
		t.Fatalf("%d events, want %d", len(all), n)
	}
	return all
}

func TestWatchHistoryThenLive(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	putAll(t, c, "1", "a/1", "b", "a/2")
	events := c.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithRev(2), clientv3.WithPrevKV())
	take(t, events, 2)
	putAll(t, c, "2", "a/1")
	if _, err := c.Delete(ctx, "a/2"); err != nil {
		t.Fatal(err)
	}
	live := take(t, events, 2)
	if !live[0].IsModify() || string(live[0].PrevKv.Value) != "1" || live[0].Kv.ModRevision != 5 {
		t.Errorf("modification: %v", live[0])
	}
	if live[1].Type != mvccpb.Event_DELETE || string(live[1].Kv.Key) != "a/2" || string(live[1].PrevKv.Value) != "1" {
		t.Errorf("deletion: %v", live[1])
	}
}

func TestWatchFilters(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	puts := c.Watch(ctx, "k", clientv3.WithRev(1), clientv3.WithFilterDelete())
	deletes := c.Watch(ctx, "k", clientv3.WithRev(1), clientv3.WithFilterPut())
	putAll(t, c, "v", "k")
	if _, err := c.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	putAll(t, c, "v", "k")
	if e := take(t, puts, 2); !e[0].IsCreate() || !e[1].IsCreate() {
		t.Errorf("puts: %v", e)
	}
	if e := take(t, deletes, 1); e[0].Type != mvccpb.Event_DELETE {
		t.Errorf("deletes: %v", e)
	}
}

func TestWatchOfCompactedRevision(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	for i := range 5 {
		putAll(t, c, fmt.Sprint(i), "k")
	}
	if _, err := c.Compact(ctx, 5); err != nil {
		t.Fatal(err)
	}
	r := <-c.Watch(ctx, "k", clientv3.WithRev(2))
	if !errors.Is(r.Err(), rpctypes.ErrCompacted) || r.CompactRevision != 5 || !r.Canceled {
		t.Errorf("got %+v, %v", r, r.Err())
	}
	take(t, c.Watch(ctx, "k", clientv3.WithRev(5)), 2)
}

// rawWatch is a stream of watches without etcd's client around it.
type rawWatch struct {
	testing.TB
	pb.Watch_WatchClient
}

func openRawWatch(t testing.TB, c *clientv3.Client) rawWatch {
	t.Helper()
	s, err := pb.NewWatchClient(c.ActiveConnection()).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rawWatch{t, s}
}

func (w rawWatch) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.Helper()
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		w.Fatal(err)
	}
	return w.next()
}

func (w rawWatch) next() *pb.WatchResponse {
	w.Helper()
	r, err := w.Recv()
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func TestWatchIDs(t *testing.T) {
	w := openRawWatch(t, newClient(t))
	chosen := w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	if !chosen.Created || chosen.Canceled || chosen.WatchId != 7 {
		t.Errorf("chosen id: %v", chosen)
	}
	twice := w.create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 7})
	if !twice.Created || !twice.Canceled || twice.WatchId != -1 || twice.CancelReason != "mvcc: duplicate watch ID provided on the WatchStream" {
		t.Errorf("same id again: %v", twice)
	}
	empty := w.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")})
	if !empty.Canceled || empty.CancelReason != "mvcc: watcher range is empty" {
		t.Errorf("empty range: %v", empty)
	}
	past := w.create(&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: -5})
	if !past.Canceled || past.CancelReason != rpctypes.ErrorDesc(rpctypes.ErrGRPCCompacted) {
		t.Errorf("negative revision: %v", past)
	}
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 7}}}); err != nil {
		t.Fatal(err)
	}
	if r := w.next(); !r.Canceled || r.WatchId != 7 || r.CompactRevision != 0 {
		t.Errorf("cancelled: %v", r)
	}
}

// Thousands of watches on one stream: none sees an event before its creation, and each sees its own.
func TestWatchManyOnOneStream(t *testing.T) {
	const watches = 2000
	c := newClient(t)
	w := openRawWatch(t, c)
	go func() {
		for i := range watches {
			_ = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{Key: fmt.Appendf(nil, "k%d", i%100), WatchId: int64(i + 1), StartRevision: 1},
			}})
		}
	}()
	for i := range 100 {
		putAll(t, c, "v", fmt.Sprintf("k%d", i))
	}
	created, events := map[int64]bool{}, map[int64]int{}
	for total := 0; len(created) < watches || total < watches; {
		r := w.next()
		if r.Created {
			created[r.WatchId] = true
			continue
		}
		if !created[r.WatchId] {
			t.Fatalf("events of watch %d before its creation", r.WatchId)
		}
		events[r.WatchId] += len(r.Events)
		total += len(r.Events)
		if events[r.WatchId] != 1 || string(r.Events[0].Kv.Key) != fmt.Sprintf("k%d", (r.WatchId-1)%100) {
			t.Fatalf("watch %d: %v", r.WatchId, r)
		}
	}
}

func TestWatchProgressOnRequest(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	putAll(t, c, "v", "a", "b", "c")
	events := c.Watch(ctx, "a", clientv3.WithRev(1))
	take(t, events, 1)
	if err := c.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	if r := <-events; !r.IsProgressNotify() || r.Header.Revision != 4 {
		t.Errorf("got %+v", r)
	}
}

// A report of progress is never ahead of the events that it speaks for, however it falls between them.
func TestWatchProgressIsNotAheadOfEvents(t *testing.T) {
	c := newClient(t)
	w := openRawWatch(t, c)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	const puts = 300
	go func() {
		for i := range puts {
			_, _ = c.Put(t.Context(), "k", fmt.Sprint(i))
			_ = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		}
	}()
	for seen := int64(1); seen < puts+1; {
		r := w.next()
		if r.WatchId == clientv3.InvalidWatchID {
			if r.Header.Revision != seen {
				t.Fatalf("progress to %d after the event of revision %d", r.Header.Revision, seen)
			}
			continue
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != seen+1 {
				t.Fatalf("event of revision %d after %d", e.Kv.ModRevision, seen)
			}
			seen++
		}
	}
}

func TestWatchProgressByTime(t *testing.T) {
	fake := testclock.NewFakeClock(time.Unix(0, 0))
	b := newLocalBackend(t)
	c := connect(t, serve(t, b, ServerConfig{}, Options{Clock: fake}))
	quiet := c.Watch(t.Context(), "quiet", clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	<-quiet
	putAll(t, c, "v", "other")
	for !fake.HasWaiters() { // the sender is on its way to its ticker, and says so to nobody
		runtime.Gosched()
	}
	fake.Step(watch.DefaultProgressInterval + watch.DefaultProgressInterval/10)
	if r := <-quiet; !r.IsProgressNotify() || r.Header.Revision != 2 {
		t.Errorf("got %+v", r)
	}
}

func TestWatchFragments(t *testing.T) {
	c := newClient(t)
	w := openRawWatch(t, c)
	value := string(bytes.Repeat([]byte("x"), 1<<20))
	putAll(t, c, value, "k1", "k2", "k3")
	if _, err := c.Delete(t.Context(), "k", clientv3.WithPrefix()); err != nil { // three events of a megabyte in one revision
		t.Fatal(err)
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: 5, PrevKv: true, Fragment: true})
	var events, parts int
	for {
		r := w.next()
		events, parts = events+len(r.Events), parts+1
		if !r.Fragment {
			break
		}
	}
	if events != 3 || parts != 3 {
		t.Errorf("%d events in %d parts", events, parts)
	}
}

// TestWatchOfHugeRevision: what tens of thousands of events of one revision come as. One message, unless the client asked for
// fragments; those follow each other, and all claim the revision. A client that takes no message of that size, and has
// asked for no fragments, is told so by its own gRPC, as with etcd.
func TestWatchOfHugeRevision(t *testing.T) {
	const keys = 20_000
	b := newLocalBackend(t)
	address := serve(t, b, ServerConfig{}, Options{MaxRequestBytes: 64 << 10})
	c := connect(t, address)
	live, liveFragments := openRawWatch(t, c), openRawWatch(t, c)
	request := func(start int64, fragment bool) *pb.WatchCreateRequest {
		return &pb.WatchCreateRequest{
			Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: start, Fragment: fragment, PrevKv: fragment, ProgressNotify: true,
			Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT},
		}
	}
	live.create(request(0, false))
	liveFragments.create(request(0, true))
	liveFragments.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), Filters: request(0, false).Filters})
	for i := range 4 {
		txn := &pb.TxnRequest{}
		for j := range keys / 4 {
			put := &pb.PutRequest{Key: fmt.Appendf(nil, "k%d/%05d", i, j), Value: []byte("value")}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		if _, err := b.Txn(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
	}
	deleted, err := c.Delete(t.Context(), "k", clientv3.WithPrefix())
	if err != nil || deleted.Deleted != keys {
		t.Fatal(deleted, err)
	}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	expect := func(how string, w rawWatch, id int64, fragments bool) {
		t.Helper()
		for events := 0; events < keys; {
			r := w.next()
			events += len(r.Events)
			if r.WatchId != id || len(r.Events) == 0 || r.Header.Revision != deleted.Header.Revision {
				t.Fatalf("%s: after %d events one of watch %d with %d events that claims revision %d of %d",
					how, events, r.WatchId, len(r.Events), r.Header.Revision, deleted.Header.Revision)
			}
			if r.Fragment != (fragments && events < keys) || !fragments && events < keys {
				t.Fatalf("%s: marked %v with %d of %d events", how, r.Fragment, events, keys)
			}
		}
	}
	expect("live", live, 0, false)
	if err := liveFragments.Send(progress); err != nil {
		t.Fatal(err)
	}
	first := liveFragments.next() // which of its watches has the first turn is open
	if fragments := first.WatchId == 0; fragments {
		if !first.Fragment {
			t.Fatalf("live: the first of many parts is not marked")
		}
		events := len(first.Events)
		for first.Fragment {
			if first = liveFragments.next(); first.WatchId != 0 || first.Header.Revision != deleted.Header.Revision {
				t.Fatalf("live: between fragments one of watch %d at revision %d", first.WatchId, first.Header.Revision)
			}
			events += len(first.Events)
		}
		if events != keys {
			t.Errorf("live: %d events in fragments", events)
		}
		expect("live, beside fragments", liveFragments, 1, false)
	} else {
		if len(first.Events) != keys || first.Fragment {
			t.Errorf("live: %d events, marked %v", len(first.Events), first.Fragment)
		}
		expect("live, in fragments", liveFragments, 0, true)
	}
	for _, fragments := range []bool{false, true} {
		w := openRawWatch(t, c)
		w.create(request(1, fragments))
		expect(fmt.Sprintf("from before, fragments %v", fragments), w, 0, fragments)
	}
	for _, c := range []struct {
		options []clientv3.OpOption
		want    codes.Code
		events  int
	}{{nil, codes.ResourceExhausted, 0}, {[]clientv3.OpOption{clientv3.WithFragment()}, codes.OK, keys}} {
		small, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, Logger: zap.NewNop(), MaxCallSendMsgSize: 64 << 10, MaxCallRecvMsgSize: 256 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer small.Close()
		options := append(c.options, clientv3.WithPrefix(), clientv3.WithRev(deleted.Header.Revision), clientv3.WithFilterPut())
		if r := <-small.Watch(t.Context(), "k", options...); status.Code(r.Err()) != c.want || len(r.Events) != c.events {
			t.Errorf("a client with a limit: %d events, %v; want %d, %v", len(r.Events), r.Err(), c.events, c.want)
		}
	}
}

// A client that requires a leader is sent away when there is none, and its open watch ended.
func TestWatchRequiresLeader(t *testing.T) {
	fake := testclock.NewFakeClock(time.Unix(0, 0))
	b := newLocalBackend(t)
	c := connect(t, serve(t, b, ServerConfig{Clock: fake}, Options{}))
	ctx := clientv3.WithRequireLeader(t.Context())
	open := c.Watch(ctx, "k", clientv3.WithCreatedNotify())
	<-open
	b.leader.Store(0)
	for ended := false; !ended; {
		select {
		case r := <-open:
			ended = true
			if !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
				t.Errorf("open watch: %v", r.Err())
			}
		default:
			fake.Step(leaderCheckInterval)
			runtime.Gosched()
		}
	}
	if r := <-c.Watch(ctx, "k"); !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Errorf("new watch: %v", r.Err())
	}
	if _, err := c.Get(ctx, "k"); !errors.Is(err, rpctypes.ErrNoLeader) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.Get(context.Background(), "k"); err != nil {
		t.Errorf("get that requires no leader: %v", err)
	}
}
