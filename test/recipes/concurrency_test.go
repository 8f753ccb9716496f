package recipes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"github.com/ctlplane/ctlplane/test/cluster"
)

// session opens a session of its own client, at one of the masters.
func session(t *testing.T, c *cluster.Cluster, i int) *concurrency.Session {
	t.Helper()
	s := ok[*concurrency.Session](t)(concurrency.NewSession(c.Connect(c.Members[i%3])))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMutex(t *testing.T) {
	ctx, c, _ := three(t)
	first, second := concurrency.NewMutex(session(t, c, 0), "/lock/"), concurrency.NewMutex(session(t, c, 1), "/lock/")
	must(t, first.Lock(ctx))
	if err := second.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("tried: %v", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- second.Lock(ctx) }()
	must(t, first.Unlock(ctx))
	must(t, <-locked)
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	if err := first.Lock(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("impatient: %v", err)
	}
}

// Many contend for a lock at all masters: none is inside with another.
func TestMutexExcludes(t *testing.T) {
	ctx, c, _ := three(t)
	inside, entered := 0, 0
	var all sync.WaitGroup
	for i := range 6 {
		m := concurrency.NewMutex(session(t, c, i), "/lock/")
		all.Go(func() {
			for range 5 {
				if err := m.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				if inside++; inside != 1 { // the race detector looks on
					t.Errorf("%d inside", inside)
				}
				inside--
				entered++
				if err := m.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if entered != 30 {
		t.Errorf("%d entered", entered)
	}
}

func TestElection(t *testing.T) {
	ctx, c, client := three(t)
	first, second := session(t, c, 0), session(t, c, 1)
	one, two := concurrency.NewElection(first, "/election"), concurrency.NewElection(second, "/election")
	observed := concurrency.NewElection(ok[*concurrency.Session](t)(concurrency.NewSession(client)), "/election").Observe(ctx)
	must(t, one.Campaign(ctx, "one"))
	if r := <-observed; string(r.Kvs[0].Value) != "one" {
		t.Errorf("observed %v", r.Kvs)
	}
	won := make(chan error, 1)
	go func() { won <- two.Campaign(ctx, "two") }()
	must(t, one.Proclaim(ctx, "one again"))
	if r := <-observed; string(r.Kvs[0].Value) != "one again" {
		t.Errorf("observed %v", r.Kvs)
	}
	must(t, first.Close()) // the lead goes with the lease
	must(t, <-won)
	if r := ok[*clientv3.GetResponse](t)(two.Leader(ctx)); string(r.Kvs[0].Value) != "two" {
		t.Errorf("leader %v", r.Kvs)
	}
	must(t, two.Resign(ctx))
	if _, err := one.Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("nobody leads: %v", err)
	}
}

func TestSessionEnds(t *testing.T) {
	ctx, c, client := three(t)
	s := session(t, c, 0)
	ok[*clientv3.LeaseRevokeResponse](t)(client.Revoke(ctx, s.Lease()))
	<-s.Done()
}

// Transfers between accounts in software transactional memory, at each isolation level, keep the sum.
func TestSTM(t *testing.T) {
	for name, isolation := range map[string]concurrency.Isolation{
		"serializable snapshot": concurrency.SerializableSnapshot, "serializable": concurrency.Serializable, "repeatable reads": concurrency.RepeatableReads,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, c, client := three(t)
			const accounts = 5
			for i := range accounts {
				ok[*clientv3.PutResponse](t)(client.Put(ctx, fmt.Sprint("account/", i), "100"))
			}
			var all sync.WaitGroup
			for i := range 6 {
				client := c.Connect(c.Members[i%3])
				all.Go(func() {
					for range 5 {
						if err := transfer(ctx, client, rand.IntN(accounts), rand.IntN(accounts), isolation); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			sum := 0
			for _, kv := range ok[*clientv3.GetResponse](t)(client.Get(ctx, "account/", clientv3.WithPrefix())).Kvs {
				sum += ok[int](t)(strconv.Atoi(string(kv.Value)))
			}
			if sum != accounts*100 {
				t.Errorf("the accounts hold %d", sum)
			}
		})
	}
}

func transfer(ctx context.Context, c *clientv3.Client, from, to int, isolation concurrency.Isolation) error {
	if from == to {
		return nil
	}
	payer, payee := fmt.Sprint("account/", from), fmt.Sprint("account/", to)
	_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
		has, _ := strconv.Atoi(s.Get(payer))
		gets, _ := strconv.Atoi(s.Get(payee))
		s.Put(payer, strconv.Itoa(has-has/2))
		s.Put(payee, strconv.Itoa(gets+has/2))
		return nil
	}, concurrency.WithIsolation(isolation), concurrency.WithAbortContext(ctx))
	return err
}

func TestDoubleBarrier(t *testing.T) {
	_, c, _ := three(t)
	const parties = 4
	var entered, left sync.WaitGroup
	inside := make(chan int, parties)
	for i := range parties {
		b := recipe.NewDoubleBarrier(session(t, c, i), "barrier", parties)
		entered.Add(1)
		left.Go(func() {
			err := b.Enter()
			inside <- i
			entered.Done()
			entered.Wait()
			if n := len(inside); err != nil || n != parties {
				t.Errorf("%d inside: %v", n, err)
			}
			if err := b.Leave(); err != nil {
				t.Error(err)
			}
		})
	}
	left.Wait()
}

func TestBarrier(t *testing.T) {
	_, c, client := three(t)
	b := recipe.NewBarrier(client, "barrier")
	must(t, b.Hold())
	if err := recipe.NewBarrier(client, "barrier").Hold(); err == nil {
		t.Error("a barrier is held twice")
	}
	passed := make(chan error, 3)
	for _, m := range c.Members {
		waiter := recipe.NewBarrier(c.Connect(m), "barrier")
		go func() { passed <- waiter.Wait() }()
	}
	must(t, b.Release())
	for range c.Members {
		must(t, <-passed)
	}
}

// What several put into a queue at all masters comes out once, at any of them.
func TestQueues(t *testing.T) {
	_, c, client := three(t)
	const each = 10
	enqueue := func(put func(c *clientv3.Client, value string) error, get func(*clientv3.Client) (string, error)) {
		t.Helper()
		var all sync.WaitGroup
		for i, m := range c.Members {
			at := c.Connect(m)
			all.Go(func() {
				for n := range each {
					if err := put(at, fmt.Sprint(i*each+n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		got := make(chan string, 3*each)
		for _, m := range c.Members {
			at := c.Connect(m)
			all.Go(func() {
				for range each {
					v, err := get(at)
					if err != nil {
						t.Error(err)
					}
					got <- v
				}
			})
		}
		all.Wait()
		once := map[string]bool{}
		for range 3 * each {
			once[<-got] = true
		}
		if len(once) != 3*each {
			t.Errorf("%d of %d came out", len(once), 3*each)
		}
	}
	enqueue(func(c *clientv3.Client, v string) error { return recipe.NewQueue(c, "queue").Enqueue(v) },
		func(c *clientv3.Client) (string, error) { return recipe.NewQueue(c, "queue").Dequeue() })
	enqueue(func(c *clientv3.Client, v string) error { return recipe.NewPriorityQueue(c, "priority").Enqueue(v, 1) },
		func(c *clientv3.Client) (string, error) { return recipe.NewPriorityQueue(c, "priority").Dequeue() })
	q := recipe.NewPriorityQueue(client, "ordered")
	for _, p := range []uint16{3, 1, 2} {
		must(t, q.Enqueue(fmt.Sprint(p), p))
	}
	for want := 1; want <= 3; want++ {
		if v := ok[string](t)(q.Dequeue()); v != fmt.Sprint(want) {
			t.Errorf("%s comes out before %d", v, want)
		}
	}
}

func TestRWMutex(t *testing.T) {
	_, c, _ := three(t)
	var state sync.Mutex
	readers, writers := 0, 0
	note := func(r, w int) {
		state.Lock()
		defer state.Unlock()
		readers, writers = readers+r, writers+w
		if writers > 1 || writers == 1 && readers > 0 {
			t.Errorf("%d writers and %d readers at once", writers, readers)
		}
	}
	var all sync.WaitGroup
	for i := range 6 {
		m := recipe.NewRWMutex(session(t, c, i), "rw")
		all.Go(func() {
			for n := range 4 {
				if (i+n)%2 == 0 {
					if err := m.RLock(); err != nil {
						t.Error(err)
					}
					note(1, 0)
					note(-1, 0)
					if err := m.RUnlock(); err != nil {
						t.Error(err)
					}
					continue
				}
				if err := m.Lock(); err != nil {
					t.Error(err)
				}
				note(0, 1)
				note(0, -1)
				if err := m.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
