package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/client"
)

// smallDisks gives each member a file system of its own, which the test can fill.
func smallDisks(t *testing.T, c *etcdCluster, size string) {
	t.Helper()
	for _, name := range c.names {
		if err := os.Mkdir(c.dataDir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", c.dataDir(name), "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(c.dataDir(name), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// takeAll takes the space there is, to the last byte, in a file that can be deleted to give it back.
func takeAll(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "of-somebody-else")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// putUntilFull puts values that can't be compressed until they are refused, and returns how many were acknowledged, and of
// how many more the outcome is unknown: one at most. They have to be refused for want of space.
func putUntilFull(t *testing.T, kv *clientv3.Client, prefix string) (acknowledged, unknown int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{})
	value := make([]byte, 256<<10)
	for {
		_, _ = random.Read(value)
		_, err := kv.Put(t.Context(), fmt.Sprintf("%s/%04d", prefix, acknowledged), string(value))
		switch {
		case err == nil:
			acknowledged, unknown = acknowledged+1, 0
		case errors.Is(err, rpctypes.ErrNoSpace):
			return acknowledged, unknown
		case errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail): // the lead was handed over: the same key is put again
			unknown = 1
		default:
			t.Fatal(err)
		}
	}
}

// TestEtcdOnAFullDisk fills the members' disks, by writing and from outside: values are refused with the cause, reads and
// deletes go on, nothing that was acknowledged is lost, and the service resumes without a restart once there is room.
func TestEtcdOnAFullDisk(t *testing.T) {
	c := newEtcdCluster(t, "http", "m1", "m2", "m3")
	smallDisks(t, c, "128m")
	c.flags = func(name string) []string { return []string{"--data-dir", filepath.Join(c.dataDir(name), "data")} }
	c.startAll()
	access := client.Access{Endpoints: c.endpoints(), Insecure: true}
	e := etcdctl(t, access)
	kv, err := clientv3.New(clientv3.Config{Endpoints: c.endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()

	count := func(prefix string) int { return strings.Count(e.run("get", "--keys-only", "--prefix", prefix), prefix) }
	disarmed := func() bool { return e.run("alarm", "list") == "" }
	mine, mineToo := putUntilFull(t, kv, "mine")
	contains(t, e.run("alarm", "list"), "NOSPACE")
	if got := count("mine/"); got < mine || got > mine+mineToo || mine < 50 {
		t.Fatalf("%d of %d acknowledged keys", got, mine)
	}
	e.run("del", "--prefix", "mine/")
	e.run("compact", fmt.Sprint(revision(t, kv)))
	eventually(t, "deletes to make room", disarmed)
	eventually(t, "the members to have room in reserve", func() bool {
		return !slices.ContainsFunc(c.names, func(name string) bool {
			_, err := os.Stat(filepath.Join(c.dataDir(name), "data", "reserve"))
			return err != nil
		})
	})

	var taken []string
	for _, name := range c.names {
		taken = append(taken, takeAll(t, c.dataDir(name)))
	}
	theirs, theirsToo := putUntilFull(t, kv, "theirs")
	if got := count("theirs/"); got < theirs || got > theirs+theirsToo {
		t.Fatalf("%d of %d acknowledged keys on a disk without room", got, theirs)
	}
	e.run("del", "nothing")
	for _, file := range taken {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the alarms to be taken back", disarmed)
	e.run("put", "after", "room")
	for _, name := range c.names {
		c.processes[name].stop()
	}
	c.startAll()
	if got := count("theirs/"); got < theirs || got > theirs+theirsToo || e.run("get", "--print-value-only", "after") != "room\n" {
		t.Errorf("%d of %d acknowledged keys after a restart", got, theirs)
	}
}

// revision is the store's.
func revision(t *testing.T, kv *clientv3.Client) int64 {
	t.Helper()
	response, err := kv.Get(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	return response.Header.Revision
}
