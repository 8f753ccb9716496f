package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/client"
)

// connect opens a client of our library to a cluster.
func connect(t *testing.T, access client.Access) *client.Client {
	t.Helper()
	config, err := access.Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// writers put ever new keys, and remember each that was acknowledged.
type writers struct {
	mu    sync.Mutex
	acked map[string]string
	last  time.Time // of the last acknowledgement
	stop  context.CancelFunc
	wait  sync.WaitGroup
}

func startWriters(t *testing.T, kv *clientv3.Client, n int) *writers {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &writers{acked: map[string]string{}, stop: cancel}
	for id := range n {
		w.wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key, value := fmt.Sprintf("load/%d/%d", id, i), strconv.Itoa(i)
				try, cancel := context.WithTimeout(ctx, time.Second)
				_, err := kv.Put(try, key, value)
				cancel()
				if err == nil {
					w.mu.Lock()
					w.acked[key], w.last = value, time.Now()
					w.mu.Unlock()
				}
			}
		})
	}
	return w
}

// count is how many writes were acknowledged so far, and when the last was.
func (w *writers) count() (int, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked), w.last
}

// end stops the writers and answers what was acknowledged.
func (w *writers) end() map[string]string {
	w.stop()
	w.wait.Wait()
	return w.acked
}

// hold waits for more acknowledged writes.
func (w *writers) hold(t *testing.T, more int) {
	t.Helper()
	from, _ := w.count()
	eventually(t, fmt.Sprintf("%d more acknowledged writes", more), func() bool { now, _ := w.count(); return now >= from+more })
}

// mustHave fails the test for each acknowledged write that a linearizable read does not show.
func mustHave(t *testing.T, kv *clientv3.Client, acked map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := kv.Get(ctx, "load/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]string, len(response.Kvs))
	for _, pair := range response.Kvs {
		there[string(pair.Key)] = string(pair.Value)
	}
	lost := 0
	for key, value := range acked {
		if there[key] != value {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, len(acked))
	}
	t.Logf("all of %d acknowledged writes are there", len(acked)-lost)
}

func TestNoAcknowledgedWriteIsLost(t *testing.T) {
	c := start(t, 3, 0)
	kv := connect(t, c.Masters[0].Access).KV()

	t.Run("leader killed", func(t *testing.T) {
		w := startWriters(t, kv, 32)
		for range 3 {
			w.hold(t, 500)
			leader, err := c.Leader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			leader.Kill()
			killed := time.Now()
			w.hold(t, 1)
			_, last := w.count()
			t.Logf("%s killed; a write was acknowledged %v later", leader.Name, last.Sub(killed))
			w.hold(t, 500)
			if err := c.StartMaster(leader); err != nil {
				t.Fatal(err)
			}
		}
		mustHave(t, kv, w.end())
	})

	t.Run("all killed", func(t *testing.T) {
		w := startWriters(t, kv, 32)
		w.hold(t, 1000)
		for _, m := range c.Masters {
			m.Kill()
		}
		acked := w.end()
		if err := c.StartMasters(); err != nil {
			t.Fatal(err)
		}
		mustHave(t, kv, acked)
	})
}

// TestFollowerWithoutItsDataComesBack deletes a follower's data directory and runs its command again.
func TestFollowerWithoutItsDataComesBack(t *testing.T) {
	c := start(t, 3, 0)
	kv := connect(t, c.Masters[0].Access).KV()
	w := startWriters(t, kv, 32)
	w.hold(t, 2000)
	leader, err := c.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	follower := c.Masters[len(c.Masters)-1]
	if follower == leader {
		follower = c.Masters[len(c.Masters)-2]
	}
	old := memberID(t, kv, follower.Name)
	follower.Kill()
	if err := follower.RemoveData(); err != nil {
		t.Fatal(err)
	}
	w.hold(t, 500)
	if err := c.StartMaster(follower); err != nil {
		t.Fatal(err)
	}
	acked := w.end()
	if now := memberID(t, kv, follower.Name); now == old {
		t.Errorf("%s has its old id %x: an id must not come back without its data", follower.Name, old)
	}
	response, err := kv.MemberList(t.Context())
	if err != nil || len(response.Members) != 3 {
		t.Errorf("members %v, %v: want three", response, err)
	}
	// It serves all of it by itself, with both others gone as far as a serializable read can tell.
	alone := follower.Access
	for i, m := range c.Masters {
		if m == follower {
			alone.Endpoints = alone.Endpoints[i : i+1]
		}
	}
	own := connect(t, alone).KV()
	eventually(t, "the follower to have caught up", func() bool {
		response, err := own.Get(t.Context(), "load/", clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
		return err == nil && response.Count >= int64(len(acked))
	})
	mustHave(t, own, acked)
}

func memberID(t *testing.T, kv *clientv3.Client, name string) uint64 {
	t.Helper()
	var id uint64
	eventually(t, "member "+name+" to be listed", func() bool {
		response, err := kv.MemberList(t.Context())
		if err != nil {
			return false
		}
		for _, m := range response.Members {
			if m.Name == name {
				id = m.ID
			}
		}
		return id != 0
	})
	return id
}

// TestStatusCommand looks at a cluster with one of its masters gone.
func TestStatusCommand(t *testing.T) {
	c := start(t, 3, 0)
	s := ctlplane(t, c.Kubeconfig())
	contains(t, s.run("status"), "leader", "follower", "m1", "m2", "m3")
	gone := c.Masters[2]
	gone.Kill()
	eventually(t, "status to name the master that is gone", func() bool {
		out, err := s.try("", "status", "-o", "json")
		return err == nil && strings.Contains(out, `"unreachable"`) && strings.Contains(out, `"leader"`)
	})
}
