package raftstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// cut takes a member off without any goodbye: its connections break, and it hands nothing over.
func (m *testMember) cut() {
	m.listener.Close()
	m.server.Stop()
	m.peers.Close()
	m.stream.CloseConns()
}

// putAtLast puts until it is acknowledged. While leaders change the outcome may be unknown, but never a
// failure: there will be a leader, and it is waited for.
func (m *testMember) putAtLast(key, value string) {
	t := m.cluster.t
	t.Helper()
	eventually(t, "a write to be acknowledged", func() bool {
		_, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
		if err != nil && !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatalf("a lost leader must be waited for, or the outcome be unknown: %v", err)
		}
		return err == nil
	})
}

func TestLeaderIsLost(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	leader.put("key", "before")
	start := time.Now()
	leader.cut()
	follower.putAtLast("key", "after")
	t.Logf("next write %v after the loss of the leader", time.Since(start).Round(time.Millisecond))
	follower.wantValue("key", "after")

	leader.stop()
	leader.start()
	leader.wantValue("key", "after")
}

func TestLeadershipIsHandedOver(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	changes := follower.Leadership()
	if <-changes {
		t.Fatal("a follower believes that it leads")
	}
	leader.stop()
	follower.putAtLast("key", "value") // what is forwarded to the one that ends may have any outcome
	if now := c.leader(); now == follower && !<-changes {
		t.Error("a leader was not told")
	}
}

func TestFollowerRestartsFromTheTailOfTheLog(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	follower := c.follower()
	for i := range 100 {
		follower.put(fmt.Sprint("key", i), "value")
	}
	if err := follower.CutLog(); err != nil {
		t.Fatal(err)
	}
	before, err := follower.snapshots.Newest()
	if err != nil || before == nil {
		t.Fatal("no snapshot", err)
	}
	follower.put("last", "before")
	follower.stop()
	c.leader().put("last", "after")
	follower.start()
	if applied := follower.machine.Store().AppliedIndex(); applied < before.Index {
		t.Errorf("state at %d after the restart, the log begins after %d", applied, before.Index)
	}
	follower.wantValue("last", "after")
	after, err := follower.snapshots.Newest()
	if err != nil || after.ID != before.ID {
		t.Errorf("restarted from snapshot %v, want the log's tail alone (%v)", after, err)
	}
}

// smallLogs cuts logs often, and in the store where what was cut off can't be read any more.
func smallLogs(config *Config) {
	config.LogStore = LogStoreBoltDB
	config.SnapshotEntries = 16
	config.SnapshotInterval = 10 * time.Millisecond
}

func TestFollowerCatchesUpBySnapshot(t *testing.T) {
	c := newTestCluster(t, 3, smallLogs)
	follower := c.follower()
	stream := follower.NewWatchStream()
	if _, err := stream.Watch(kv.WatchRequest{Key: []byte("key"), RangeEnd: []byte("kez")}); err != nil {
		t.Fatal(err)
	}
	last := follower.machine.Store().AppliedIndex()
	received := follower.metrics()["etcd_snap_db_save_total_duration_seconds"]
	heal := follower.partition()
	leader := c.leader()
	for i := 0; ; i++ {
		leader.put(fmt.Sprint("key", i), "value")
		// What the follower needs is no longer in the log, nor are the entries after those that the leader
		// may have prepared to send.
		if first, _ := leader.stores.Log.FirstIndex(); first > last+64 {
			break
		}
	}
	leader.put("last", "value")
	heal()
	follower.wantValue("last", "value")
	for {
		if _, err := stream.Next(testContext(t)); err != nil {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("a watch on the state that was replaced ended with %v, want kv.ErrClosed", err)
			}
			break
		}
	}
	if newest, err := follower.snapshots.Newest(); err != nil || newest == nil {
		t.Error("the follower did not get a snapshot", err)
	}
	if follower.metrics()["etcd_snap_db_save_total_duration_seconds"] <= received {
		t.Error("the receipt of the state was not counted")
	}
	leader.eventually("to remove what it has sent", func() bool {
		sent, err := filepath.Glob(filepath.Join(leader.config.DataDir, "snapshots", "sending-*"))
		return err == nil && len(sent) == 0
	})
	follower.stop()
	follower.start()
	follower.put("last", "after")
	follower.wantValue("last", "after")
}

// partition keeps a member's Raft messages from passing, in either direction, until heal.
func (m *testMember) partition() (heal func()) {
	m.stream.CloseConns()
	return m.stream.Reopen
}

func TestWipedFollowerComesBackAsANewMember(t *testing.T) {
	c := newTestCluster(t, 3, smallLogs)
	leader, lost := c.leader(), c.follower()
	for i := range 200 {
		leader.put(fmt.Sprint("key", i), "value")
	}
	lost.stop()
	if err := os.RemoveAll(lost.config.DataDir); err != nil {
		t.Fatal(err)
	}
	back := c.addNamed(lost.config.Identity.Name)
	back.wantValue("key199", "value")
	members, err := back.Members(testContext(t))
	if err != nil || len(members) != 3 {
		t.Fatalf("%v, %v", members, err)
	}
	for _, m := range members {
		if m.ID == lost.config.Identity.MemberID {
			t.Error("the old id is still a member")
		}
	}
}

func TestMajorityIsLost(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.RequestTimeout = 300 * time.Millisecond })
	c.members[0].put("key", "value")
	last := c.members[2]
	last.wantValue("key", "value")
	c.members[0].stop()
	c.members[1].stop()
	last.eventually("to refuse writes", func() bool {
		_, err := last.Put(testContext(t), &pb.PutRequest{Key: []byte("key")})
		if !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrOutcomeUnknown) { // a leader that stops gives its vote, so that this one leads for a moment
			t.Fatalf("write: %v", err)
		}
		return errors.Is(err, ErrNoLeader)
	})
	if _, err := last.Range(testContext(t), &pb.RangeRequest{Key: []byte("key")}); !errors.Is(err, ErrNoLeader) {
		t.Errorf("read: %v", err)
	}
	r, err := last.Range(testContext(t), &pb.RangeRequest{Key: []byte("key"), Serializable: true})
	if err != nil || len(r.Kvs) != 1 {
		t.Errorf("serializable read: %v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := last.Put(ctx, &pb.PutRequest{Key: []byte("key")}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled write: %v", err)
	}
	c.members[0].start()
	c.leader()
	last.put("key", "after")
}

const crashEnv = "CTLPLANE_TEST_CRASH_DIR"

// TestCrash kills a process with three members in it, in mid-write, and looks for every write that it had
// acknowledged.
func TestCrash(t *testing.T) {
	if dir := os.Getenv(crashEnv); dir != "" {
		writeUntilKilled(t, dir)
	}
	dir := t.TempDir()
	var addresses []string
	var configs []BootstrapConfig
	for i := range 3 {
		addresses = append(addresses, freeAddress(t))
		configs = append(configs, BootstrapConfig{DataDir: filepath.Join(dir, fmt.Sprint(i)), Token: testSecret, Logger: testLogger(t, fmt.Sprint(i))})
	}
	if err := os.WriteFile(filepath.Join(dir, "peers"), []byte(strings.Join(addresses, ",")), 0o600); err != nil {
		t.Fatal(err)
	}
	acknowledged := crash(t, dir)
	t.Logf("killed after %d acknowledged writes", len(acknowledged))
	ms := &masters{t: t, configs: configs, running: make([]*Cluster, 3)}
	ms.place(addresses)
	ms.start(0, 1, 2)
	defer func() {
		for i := range ms.running {
			ms.stop(i)
		}
	}()
	for i, key := range acknowledged {
		if ms.member(i%3).get(key) != key {
			t.Fatalf("write %q was acknowledged and is lost", key)
		}
	}
}

func (ms *masters) place(addresses []string) {
	for i := range ms.configs {
		for j, address := range addresses {
			if i == 0 {
				ms.peers = append(ms.peers, Peer{Name: fmt.Sprint("m", j), Address: address})
			}
		}
		ms.configs[i].Name, ms.configs[i].Peers = fmt.Sprint("m", i), ms.peers
	}
}

// crash runs this test in a process of its own and kills that once it has acknowledged enough.
func crash(t *testing.T, dir string) (acknowledged []string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrash$", "-test.timeout=60s")
	child.Env = append(os.Environ(), crashEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if key, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
			acknowledged = append(acknowledged, key)
		}
		if len(acknowledged) == 3000 {
			_ = child.Process.Kill()
		}
	}
	_ = child.Wait() // killed, as it should be
	if len(acknowledged) < 3000 {
		t.Fatalf("the process ended by itself after %d writes", len(acknowledged))
	}
	return acknowledged
}

func writeUntilKilled(t *testing.T, dir string) {
	list, err := os.ReadFile(filepath.Join(dir, "peers"))
	if err != nil {
		t.Fatal(err)
	}
	ms := &masters{t: t, running: make([]*Cluster, 3)}
	for i := range 3 {
		config := BootstrapConfig{DataDir: filepath.Join(dir, fmt.Sprint(i)), Token: testSecret, Logger: testLogger(t, fmt.Sprint(i))}
		config.Member.SnapshotEntries, config.Member.SnapshotInterval = 16, 10*time.Millisecond // cut while writes come in
		ms.configs = append(ms.configs, config)
	}
	ms.place(strings.Split(string(list), ","))
	ms.start(0, 1, 2)
	var out sync.Mutex
	for writer := range 32 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d", writer, i)
				if _, err := ms.running[writer%3].Member.Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte(key)}); err != nil {
					continue
				}
				out.Lock()
				fmt.Println("acknowledged", key)
				out.Unlock()
			}
		}()
	}
	select {}
}
