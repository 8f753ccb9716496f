package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/raftstore/raftlog/logtest"
)

// TestNothingIsAcknowledgedBeforeItIsOnTheLeadersDisk holds the leader's disk while its followers write.
func TestNothingIsAcknowledgedBeforeItIsOnTheLeadersDisk(t *testing.T) {
	disks := map[string]*logtest.Hanging{}
	c := newTestCluster(t, 3, func(config *Config) {
		config.HeartbeatTimeout = patientHeartbeats // so that it does not hang
		config.wrapLog = func(store raft.LogStore) raft.LogStore {
			disk := logtest.NewHanging(store)
			disks[config.Identity.Name] = disk
			return disk
		}
	})
	leader := c.leader()
	disk := disks[leader.config.Identity.Name]
	disk.Set(true, nil)
	answered := make(chan error, 1)
	go func() {
		_, err := leader.Put(context.WithoutCancel(testContext(t)), &pb.PutRequest{Key: []byte("a"), Value: []byte("b")})
		answered <- err
	}()
	eventually(t, "the leader's disk to be asked", disk.Asked)
	index := leader.raft.LastIndex()
	for _, follower := range c.members {
		if follower != leader {
			eventually(t, "the followers to have the entry", func() bool { return follower.raft.LastIndex() >= index })
		}
	}
	select {
	case err := <-answered:
		t.Fatalf("answered (%v) before the entry was on the leader's disk", err)
	default:
	}
	if committed := leader.raft.CommitIndex(); committed >= index {
		t.Fatalf("entry %d is committed before it is on the leader's disk", index)
	}
	disk.Set(false, nil)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// TestLeaderThatDiesBeforeItHasWrittenLosesNothing lets leaders die while their followers have entries that
// they themselves have not written, and looks for everything that was acknowledged afterwards.
func TestLeaderThatDiesBeforeItHasWrittenLosesNothing(t *testing.T) {
	var mu sync.Mutex
	disks := map[string]*logtest.Hanging{}
	c := newTestCluster(t, 3, func(config *Config) {
		name := config.Identity.Name
		config.wrapLog = func(store raft.LogStore) raft.LogStore {
			mu.Lock()
			defer mu.Unlock()
			disks[name] = logtest.NewHanging(store)
			return disks[name]
		}
	})
	acknowledged := map[string]string{}
	for round := range 6 {
		leader := c.leader()
		member := leader.Member // which is another one after the restart
		disk := disks[leader.config.Identity.Name]
		var writers sync.WaitGroup
		for writer := range 8 {
			writers.Go(func() {
				for i := 0; ; i++ {
					key, value := fmt.Sprintf("%d-%d-%d", round, writer, i), fmt.Sprint(i)
					if _, err := member.Put(testContext(t), &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
						return // the leader is gone
					}
					mu.Lock()
					acknowledged[key] = value
					mu.Unlock()
				}
			})
		}
		eventually(t, "writes", func() bool { mu.Lock(); defer mu.Unlock(); return len(acknowledged) > 200*(round+1) })
		disk.Set(true, nil)
		eventually(t, "the leader's disk to be asked", disk.Asked)
		disk.Set(false, errors.New("the machine has lost power"))
		leader.cut()
		leader.stop()
		writers.Wait()
		leader.start()
	}
	for _, m := range c.members {
		response, err := m.Range(testContext(t), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, pair := range response.Kvs {
			have[string(pair.Key)] = string(pair.Value)
		}
		for key, value := range acknowledged {
			if have[key] != value {
				t.Fatalf("%s has %q for %s, acknowledged was %q", m.config.Identity.Name, have[key], key, value)
			}
		}
	}
	t.Logf("%d acknowledged writes", len(acknowledged))
}
