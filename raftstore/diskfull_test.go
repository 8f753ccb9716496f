package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// smallDisk mounts a file system of so many bytes and has the cluster's members live on it.
func smallDisk(t *testing.T, size string) (mount string) {
	t.Helper()
	mount = t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	return mount
}

// takeSpace takes the space there is until so much is left, for somebody else.
func takeSpace(t *testing.T, mount string, left int64) {
	t.Helper()
	f, err := os.OpenFile(somebodyElses(mount), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		space, err := disk.SpaceOf(mount)
		if err != nil {
			t.Fatal(err)
		}
		if left > 0 && space.Free <= left {
			return
		}
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// giveSpace gives back what takeSpace took.
func giveSpace(t *testing.T, mount string) {
	t.Helper()
	if err := os.Remove(somebodyElses(mount)); err != nil {
		t.Fatal(err)
	}
}

func somebodyElses(mount string) string { return filepath.Join(mount, "of-somebody-else") }

// writers put values as fast as they are taken, each under keys of its own, and remember what was
// acknowledged.
type writers struct {
	mu           sync.Mutex
	acknowledged map[string]string
}

// writeUntil puts values from several goroutines until each has met an error that stop takes.
func (w *writers) writeUntil(t *testing.T, m *testMember, round string, stop func(error) bool) {
	t.Helper()
	var running sync.WaitGroup
	for n := range 4 {
		running.Go(func() {
			random, block := rand.NewChaCha8([32]byte{byte(n)}), make([]byte, 8<<10)
			for i := 0; ; i++ {
				random.Read(block) // what can't be compressed takes its room
				key, value := fmt.Sprintf("%s-%d-%d", round, n, i), string(block)
				ctx, cancel := context.WithTimeout(t.Context(), testWait)
				_, err := m.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(key + value)})
				cancel()
				if err == nil {
					w.mu.Lock()
					w.acknowledged[key] = key + value
					w.mu.Unlock()
				} else if stop(err) {
					return
				} else if t.Context().Err() != nil {
					return
				}
			}
		})
	}
	running.Wait()
}

func isNoSpace(err error) bool { return errors.Is(err, kv.ErrNoSpace) }

func (w *writers) check(t *testing.T, m *testMember) {
	t.Helper()
	r, err := m.Range(testContext(t), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, kv := range r.Kvs {
		found[string(kv.Key)] = string(kv.Value)
	}
	for key, value := range w.acknowledged {
		if found[key] != value {
			t.Fatalf("%s: %s was acknowledged and is lost", m.config.Identity.Name, key)
		}
	}
}

// TestDiskFull fills the disk of all members: values are refused, with the cause, before it is full, reads and
// deletes go on, deletions make room, and no acknowledged write is lost, over a restart neither.
func TestDiskFull(t *testing.T) {
	mount := smallDisk(t, "96m")
	c := newTestCluster(t, 3, func(config *Config) {
		config.DataDir = filepath.Join(mount, filepath.Base(config.DataDir))
	})
	w := &writers{acknowledged: map[string]string{}}
	leader := c.leader()
	w.writeUntil(t, leader, "first", isNoSpace)
	if len(w.acknowledged) < 500 {
		t.Fatalf("refused after %d writes", len(w.acknowledged))
	}
	// What the members could do for room they may have done: now there is none to be had.
	eventually(t, "all members to raise the alarm", func() bool {
		takeSpace(t, mount, 4<<20)
		return len(leader.Status().Alarms) == 3
	})
	for _, m := range c.members {
		m.eventually("to refuse a lease, too", func() bool {
			takeSpace(t, mount, 4<<20)
			_, err := m.LeaseGrant(testContext(t), &pb.LeaseGrantRequest{TTL: 10})
			return isNoSpace(err) && len(m.Status().Alarms) == 3
		})
		w.check(t, m)
	}
	if _, err := c.leader().DeleteRange(testContext(t), &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil {
		t.Fatal(err)
	}
	clear(w.acknowledged)
	if _, err := c.leader().Compact(testContext(t), &pb.CompactionRequest{Revision: c.leader().Revision(), Physical: true}); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		// They share the disk: what one gives back somebody else takes, or another of them would not be short of room any more.
		m.eventually("to give back the room of what was deleted", func() bool {
			takeSpace(t, mount, 4<<20)
			return m.Status().Store.DiskBytes < 1<<20
		})
	}
	giveSpace(t, mount)
	eventually(t, "the alarms to be taken back", func() bool { return len(c.leader().Status().Alarms) == 0 })
	c.leader().put("after", "room")
	w.acknowledged["after"] = "room"
	for _, m := range c.members {
		m.stop()
	}
	for _, m := range c.members {
		m.start()
	}
	w.check(t, c.leader())
}

// TestDiskFilledByOthers: somebody else takes all the space of each member's disk, to the last byte, while values
// are being written, and gives it back later. No disk is shared: a member could use up what another has given up.
func TestDiskFilledByOthers(t *testing.T) {
	mounts := map[string]string{}
	for _, member := range []string{"m1", "m2", "m3"} {
		mounts[member] = smallDisk(t, "128m")
	}
	c := newTestCluster(t, 3, func(config *Config) {
		config.DataDir = filepath.Join(mounts[config.Identity.Name], filepath.Base(config.DataDir))
	})
	w := &writers{acknowledged: map[string]string{}}
	leader := c.leader()
	for round := range 2 {
		var filled sync.WaitGroup
		for _, mount := range mounts {
			filled.Go(func() { takeSpace(t, mount, 0) })
		}
		w.writeUntil(t, leader, fmt.Sprint("round", round), isNoSpace)
		filled.Wait()
		for _, m := range c.members {
			w.check(t, m)
		}
		if _, err := c.leader().DeleteRange(testContext(t), &pb.DeleteRangeRequest{Key: []byte("none")}); err != nil {
			t.Errorf("a delete: %v", err)
		}
		for _, mount := range mounts {
			giveSpace(t, mount)
		}
		eventually(t, "the alarms to be taken back", func() bool { return len(c.leader().Status().Alarms) == 0 })
		leader = c.leader()
		leader.put("again", "taken")
		for _, m := range c.members {
			if err := m.Err(); err != nil {
				t.Fatal(err)
			}
			w.check(t, m)
		}
	}
}

// TestDeletionsMakeRoomOnADiskFilledByOthers: somebody else takes a disk to the last byte and keeps it. What the reserve gives up is
// enough for deletions to take effect, and with what they free the member has room again.
func TestDeletionsMakeRoomOnADiskFilledByOthers(t *testing.T) {
	mount := smallDisk(t, "128m")
	c := newTestCluster(t, 1, func(config *Config) {
		config.DataDir = filepath.Join(mount, filepath.Base(config.DataDir))
	})
	m := c.leader()
	random, value := rand.NewChaCha8([32]byte{}), make([]byte, 64<<10)
	for i := range 900 {
		random.Read(value) // what can't be compressed takes its room
		m.put(fmt.Sprint("key", i), string(value))
	}
	takeSpace(t, mount, 0)
	m.eventually("to raise the alarm", func() bool { return len(m.Status().Alarms) == 1 })
	if _, err := m.DeleteRange(testContext(t), &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Compact(testContext(t), &pb.CompactionRequest{Revision: m.Revision()}); err != nil {
		t.Fatal(err)
	}
	m.eventually("to have room, and to take the alarm back", func() bool { return len(m.Status().Alarms) == 0 && m.disk.Reserved() })
	m.put("after", "room")
}

// TestCloseOnFullDisk: members end although nothing can be written, and have everything when they are back.
func TestCloseOnFullDisk(t *testing.T) {
	mount := smallDisk(t, "128m")
	c := newTestCluster(t, 3, func(config *Config) {
		config.DataDir = filepath.Join(mount, filepath.Base(config.DataDir))
	})
	w := &writers{acknowledged: map[string]string{}}
	takeSpace(t, mount, 0)
	w.writeUntil(t, c.leader(), "before", isNoSpace)
	for _, m := range c.members {
		m.disk.GiveUpReserve()
	}
	giveSpace(t, mount)
	takeSpace(t, mount, 0)
	for _, m := range c.members {
		m.stop()
	}
	giveSpace(t, mount)
	for _, m := range c.members {
		m.start()
	}
	eventually(t, "the alarms to be taken back", func() bool { return len(c.leader().Status().Alarms) == 0 })
	w.check(t, c.leader())
}

// TestFollowerDiskFull: one member without room does not keep the others from writing, and catches up.
func TestFollowerDiskFull(t *testing.T) {
	mount := smallDisk(t, "64m")
	c := newTestCluster(t, 3, func(config *Config) {
		if config.Identity.Name == "m3" {
			config.DataDir = filepath.Join(mount, filepath.Base(config.DataDir))
		}
	})
	takeSpace(t, mount, 0)
	full := c.members[2]
	full.eventually("to raise an alarm", func() bool { return len(c.members[0].Status().Alarms) == 1 })
	for i := range 300 {
		c.members[0].putAtLast(fmt.Sprint("key", i), string(bytes.Repeat([]byte{byte(i)}, 64<<10)))
	}
	if l := c.leader(); l == full {
		t.Error("the member without room leads")
	}
	giveSpace(t, mount)
	full.eventually("to catch up", func() bool {
		return full.Status().AppliedIndex >= c.leader().Status().AppliedIndex && len(full.Status().Alarms) == 0
	})
	full.wantValue("key299", string(bytes.Repeat([]byte{byte(299 % 256)}, 64<<10)))
}
