package robustness

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/test/cluster"
)

const (
	prefix = "w/"
	oneKey = prefix + "3"
	// lastKey and lastValue are those of the last writes.
	lastKey   = prefix + "last"
	lastValue = "done"
	keys      = 12
	writers   = 4
	// writes is how many are written, in all; faults come and go as they are counted.
	writes = 1500
	// patience bounds the run: it takes a fraction of it.
	patience = 3 * time.Minute
)

// acknowledgement is a write that the store confirmed.
type acknowledgement struct {
	change
	value string
}

// recording is what the clients of a run saw.
type recording struct {
	watches      []*watch
	acknowledged []acknowledgement
	// truth is every event that any watch saw.
	truth     map[change]*clientv3.Event
	revisions map[int64][]*clientv3.Event
	// history are the events of a key in their order.
	history map[string][]*clientv3.Event
}

var (
	recordOnce sync.Once
	recorded   *recording
)

// record runs the store under load and faults, once for all tests, and returns what was seen.
func record(t *testing.T) *recording {
	t.Helper()
	recordOnce.Do(func() {
		r := &run{t: t, progressed: make(chan struct{})}
		r.record()
		if !t.Failed() {
			recorded = r.seen
		}
	})
	if recorded == nil {
		t.Fatal("the run failed: see the first test")
	}
	return recorded
}

// run is a run that is going on.
type run struct {
	t       *testing.T
	ctx     context.Context
	cluster *cluster.Cluster
	admin   *clientv3.Client
	seen    *recording

	written    atomic.Int64 // attempts
	mu         sync.Mutex
	progressed chan struct{} // closed at the next write
}

func (r *run) record() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.ctx = ctx
	r.cluster = cluster.Start(r.t, 3, func(c *master.Config) {
		// Logs are cut early, so that who was away gets a snapshot.
		c.Member.SnapshotEntries = 64
		c.Member.SnapshotInterval = 50 * time.Millisecond
	})
	r.admin = r.cluster.Connect()
	r.seen = &recording{truth: map[change]*clientv3.Event{}, revisions: map[int64][]*clientv3.Event{}, history: map[string][]*clientv3.Event{}}
	r.addWatches()
	var watching, writing, disturbing sync.WaitGroup
	for _, w := range r.seen.watches {
		watching.Go(func() { w.follow(ctx) })
	}
	for i := range writers {
		writing.Go(func() { r.write(i) })
	}
	disturbing.Go(r.disturb)
	disturbing.Go(r.compact)
	disturbing.Go(r.askProgress)
	writing.Wait()
	disturbing.Wait()
	r.end()
	watching.Wait()
	if ctx.Err() != nil {
		for _, w := range r.seen.watches {
			s := w.segments[len(w.segments)-1]
			r.t.Logf("%s is at %d in segment %d", w.name, s.seen, len(w.segments))
		}
		r.t.Fatalf("the run was not done in %v", patience)
	}
	r.conclude()
}

// end writes what ends all watches: each sees one of these as its last event.
func (r *run) end() {
	for r.ctx.Err() == nil {
		_, err1 := r.admin.Put(r.ctx, oneKey, lastValue)
		_, err2 := r.admin.Put(r.ctx, lastKey, lastValue)
		_, err3 := r.admin.Delete(r.ctx, lastKey)
		if err1 == nil && err2 == nil && err3 == nil {
			return
		}
	}
}

// addWatches makes watches of all kinds: at each member and at any, of all keys and one, fast and slow, steady and resumed.
func (r *run) addWatches() {
	add := func(w *watch) {
		w.options = append(w.options, clientv3.WithPrevKV())
		if w.key == prefix {
			w.options = append(w.options, clientv3.WithPrefix())
		}
		if w.wants == nil {
			w.wants = func(*clientv3.Event) bool { return true }
		}
		if w.last == nil {
			w.last = func(e *clientv3.Event) bool { return string(e.Kv.Key) == lastKey }
		}
		r.seen.watches = append(r.seen.watches, w)
	}
	for _, m := range r.cluster.Members {
		add(&watch{name: "steady at " + m.Name, client: r.cluster.Connect(m), key: prefix})
		add(&watch{name: "resumed at " + m.Name, client: r.cluster.Connect(m), key: prefix, breaks: 7})
	}
	add(&watch{name: "steady", client: r.cluster.Connect(), key: prefix})
	add(&watch{name: "resumed", client: r.cluster.Connect(), key: prefix, breaks: 20})
	add(&watch{
		name: "of one key", client: r.cluster.Connect(), key: oneKey,
		wants: func(e *clientv3.Event) bool { return string(e.Kv.Key) == oneKey },
		last:  func(e *clientv3.Event) bool { return string(e.Kv.Value) == lastValue },
	})
	add(&watch{
		name: "of deletes", client: r.cluster.Connect(), key: prefix, options: []clientv3.OpOption{clientv3.WithFilterPut()},
		wants: func(e *clientv3.Event) bool { return e.Type == clientv3.EventTypeDelete },
	})
	add(&watch{name: "slow", client: r.cluster.Connect(), key: prefix, pause: r.someWrites(40)})
	add(&watch{name: "slow and resumed", client: r.cluster.Connect(), key: prefix, breaks: 3, pause: r.someWrites(25)})
}

// write writes one writer's share: puts, deletes and transactions of three keys.
func (r *run) write(writer int) {
	client := r.cluster.Connect()
	for i := range writes / writers {
		r.attempt(client, writer, i)
		r.written.Add(1)
		r.mu.Lock()
		close(r.progressed)
		r.progressed = make(chan struct{})
		r.mu.Unlock()
	}
}

func (r *run) attempt(client *clientv3.Client, writer, i int) {
	key := func(n int) string { return fmt.Sprint(prefix, n%keys) }
	value := fmt.Sprintf("%d-%d", writer, i)
	n := writer*31 + i*7
	switch i % 5 {
	case 3:
		_, _ = client.Delete(r.ctx, key(n))
	case 4:
		resp, err := client.Txn(r.ctx).Then(clientv3.OpPut(key(n), value), clientv3.OpPut(key(n+1), value), clientv3.OpPut(key(n+2), value)).Commit()
		if err == nil {
			r.acknowledge(resp.Header.Revision, value, key(n), key(n+1), key(n+2))
		}
	default:
		if resp, err := client.Put(r.ctx, key(n), value); err == nil {
			r.acknowledge(resp.Header.Revision, value, key(n))
		}
	}
}

func (r *run) acknowledge(revision int64, value string, keys ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		r.seen.acknowledged = append(r.seen.acknowledged, acknowledgement{change{revision, key}, value})
	}
}

// wait returns when n writes have been tried.
func (r *run) wait(n int64) error {
	for {
		r.mu.Lock()
		progressed := r.progressed
		r.mu.Unlock()
		if r.written.Load() >= min(n, writes) {
			return nil
		}
		select {
		case <-progressed:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// someWrites makes a reader that reads once in n writes.
func (r *run) someWrites(n int64) func() error {
	next := int64(0)
	return func() error {
		next += n
		return r.wait(next)
	}
}

// disturb changes leaders, cuts members off until they need a snapshot, and restarts them.
func (r *run) disturb() {
	steps := []func(){r.moveLeader, r.cutFollower, r.restartLeader, r.moveLeader, r.cutFollower, r.restartFollower}
	for i, step := range steps {
		if r.wait(int64(i+1)*writes/int64(len(steps)+1)) != nil {
			return
		}
		step()
	}
}

func (r *run) follower() *cluster.Member {
	leader := r.cluster.Leader(r.ctx)
	for _, m := range r.cluster.Members {
		if m != leader {
			return m
		}
	}
	return nil
}

func (r *run) moveLeader() {
	leader, target := r.cluster.Leader(r.ctx), r.follower()
	_, _ = r.cluster.Connect(leader).MoveLeader(r.ctx, r.cluster.ID(r.ctx, target)) // it may have moved by itself
}

// cutFollower keeps the leader from a follower until its log has moved on beyond what the follower has.
func (r *run) cutFollower() {
	m := r.follower()
	m.Cut()
	_ = r.wait(r.written.Load() + writes/10)
	m.Heal()
}

func (r *run) restartLeader()   { r.restart(r.cluster.Leader(r.ctx)) }
func (r *run) restartFollower() { r.restart(r.follower()) }

func (r *run) restart(m *cluster.Member) {
	m.Stop()
	_ = r.wait(r.written.Load() + writes/20)
	m.Start()
}

// compact forgets what is older than some hundred revisions, time and again.
func (r *run) compact() {
	for n := int64(writes / 8); n <= writes; n += writes / 8 {
		if r.wait(n) != nil {
			return
		}
		if resp, err := r.admin.Get(r.ctx, prefix); err == nil {
			_, _ = r.admin.Compact(r.ctx, max(1, resp.Header.Revision-writes/10))
		}
	}
}

// askProgress asks all streams how far they are, time and again.
func (r *run) askProgress() {
	for n := int64(20); n < writes; n += 20 {
		if r.wait(n) != nil {
			return
		}
		for _, w := range r.seen.watches {
			ctx, cancel := context.WithTimeout(r.ctx, time.Second)
			_ = w.client.RequestProgress(ctx) // a client whose member is away has none
			cancel()
		}
	}
}

// conclude gathers what is true from what was seen; two watches that saw different things are a failure.
func (r *run) conclude() {
	for _, w := range r.seen.watches {
		for _, s := range w.segments {
			for _, e := range s.events() {
				c := change{e.Kv.ModRevision, string(e.Kv.Key)}
				known, ok := r.seen.truth[c]
				if !ok {
					r.seen.truth[c] = e
				} else if known.Type != e.Type || string(known.Kv.Value) != string(e.Kv.Value) || known.Kv.Version != e.Kv.Version {
					r.t.Errorf("%s saw %v, others %v", w.name, e, known)
				}
			}
		}
	}
	for c, e := range r.seen.truth {
		r.seen.history[c.key] = append(r.seen.history[c.key], e)
		r.seen.revisions[c.revision] = append(r.seen.revisions[c.revision], e)
	}
	for _, events := range r.seen.history {
		sortByRevision(events)
	}
	if os.Getenv("CTLPLANE_TEST_LOG") != "" {
		var text strings.Builder
		for _, w := range r.seen.watches {
			fmt.Fprintf(&text, "%s: %d segments; ", w.name, len(w.segments))
		}
		r.t.Logf("%d events, %d acknowledged; %s", len(r.seen.truth), len(r.seen.acknowledged), text.String())
	}
}
