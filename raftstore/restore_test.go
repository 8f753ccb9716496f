package raftstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/archive"
)

// save writes a backup to a file, with its checksum.
func (m *testMember) save(format BackupFormat) (path string) {
	t := m.cluster.t
	t.Helper()
	backup, err := m.Backup(testContext(t), format)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(backup)
	if err := errors.Join(err, backup.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(len(content)) != backup.Size {
		t.Errorf("%d bytes came, announced were %d", len(content), backup.Size)
	}
	return writeBackup(t, content)
}

func writeBackup(t testing.TB, content []byte) (path string) {
	t.Helper()
	sum := sha256.Sum256(content)
	path = filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, append(content[:len(content):len(content)], sum[:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBackupWhileWriting: a backup is the state of one moment, whatever is written meanwhile, and leaves nothing.
func TestBackupWhileWriting(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.leader()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprint("k", i%50)
			txn := &pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(fmt.Sprint(i))}}},
				{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("twin/" + key), Value: []byte(fmt.Sprint(i))}}},
			}}
			if _, err := m.Txn(testContext(t), txn); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	m.eventually("to have written", func() bool { return m.Revision() > 100 })
	files := map[BackupFormat]string{BackupEtcd: m.save(BackupEtcd), BackupNative: m.save(BackupNative)}
	close(stop)
	<-stopped
	for format, path := range files {
		status, err := InspectBackup(t.Context(), path, false, nil)
		if err != nil || status.Format != format || status.Revision < 100 {
			t.Fatalf("%s: %+v, %v", format, status, err)
		}
		dir := filepath.Join(t.TempDir(), "data")
		restored, err := Restore(t.Context(), RestoreConfig{File: path, DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if restored.Revision != status.Revision || restored.Keys != status.TotalKey {
			t.Errorf("%s: restored %+v of %+v", format, restored, status)
		}
		m.compareWith(filepath.Join(dir, stateDir), status.Revision)
	}
	left, err := filepath.Glob(filepath.Join(m.config.DataDir, "snapshots", "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// compareWith compares what the member has at a revision with a store that is at that.
func (m *testMember) compareWith(dir string, revision int64) {
	t := m.cluster.t
	t.Helper()
	store, err := kv.Open(kv.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: revision}
	got, err := store.Range(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.Range(testContext(t), all)
	if err != nil {
		t.Fatal(err)
	}
	got.Header, want.Header = nil, nil
	if !proto.Equal(got, want) {
		t.Errorf("at revision %d: %v, want %v", revision, got, want)
	}
}

// TestForceNewCluster: one member of three goes on alone, with everything, and stays so.
func TestForceNewCluster(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for i := range 20 {
		c.leader().put(fmt.Sprint("k", i), "v")
	}
	left := c.follower()
	left.wantValue("k19", "v")
	for _, m := range c.members {
		m.stop()
	}
	left.config.ForceNewCluster = true
	left.start()
	left.eventually("to lead", func() bool { return left.Status().Leader == left.Status().ID })
	left.put("alone", "yes")
	left.wantValue("k19", "v")
	left.eventually("to be the only member", func() bool { return len(left.MemberRecords()) == 1 })
	left.stop()
	left.config.ForceNewCluster = false
	left.start()
	left.wantValue("alone", "yes")
	// Others may join it.
	c.members = []*testMember{left}
	c.addNamed("newcomer").wantValue("alone", "yes")
}

// TestInterruptedRestore: what a restore left that was killed does not begin as a member, and can be replaced.
func TestInterruptedRestore(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.leader().put("k", "v")
	path := c.leader().save(BackupNative)
	dir := filepath.Join(t.TempDir(), "data")
	// It was killed when all but the last step was done.
	for _, left := range []string{filepath.Join(restoringDir, stateDir), stateDir, restoreNoteFile} {
		if err := os.MkdirAll(filepath.Join(dir, left), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Bootstrap(t.Context(), BootstrapConfig{DataDir: dir, PeerListen: freeAddress(t)})
	if err == nil || !strings.Contains(err.Error(), "run it again") {
		t.Fatalf("a member began: %v", err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{File: path, DataDir: dir}); err != nil {
		t.Fatal(err)
	}
	cluster, err := Bootstrap(t.Context(), BootstrapConfig{DataDir: dir, PeerListen: freeAddress(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Member.Close(context.Background())
	r, err := cluster.Member.Range(testContext(t), &pb.RangeRequest{Key: []byte("k")})
	if err != nil || len(r.Kvs) != 1 {
		t.Error(r, err)
	}
	if left, err := loadRestoreNote(dir); left != nil || err != nil {
		t.Errorf("the note is still there: %v, %v", left, err)
	}
}

// TestRestoredMemberRefusesOthersCluster: its data is not given up for a cluster that hasn't begun with it.
func TestRestoredMemberRefusesOthersCluster(t *testing.T) {
	dir := writeTree(t, map[string]string{stateDir + "/file": "data"})
	o := &restoreNote{ClusterID: 1}
	if err := o.giveUpFor(2, dir); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("another cluster: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateDir, "file")); err != nil {
		t.Error(err)
	}
	if err := o.giveUpFor(1, dir); err != nil {
		t.Error(err)
	}
}

// TestRestoreAlike: members that are restored alike know each other, others don't.
func TestRestoreAlike(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.leader()
	m.put("k", "v")
	path := m.save(BackupEtcd)
	restore := func(config RestoreConfig) uint64 {
		t.Helper()
		config.File, config.DataDir = path, filepath.Join(t.TempDir(), "data")
		r, err := Restore(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return r.ClusterID
	}
	one := restore(RestoreConfig{Cluster: "token a=1,b=2"})
	if restore(RestoreConfig{Cluster: "token a=1,b=2"}) != one {
		t.Error("the same restore makes another cluster")
	}
	for _, other := range []RestoreConfig{{Cluster: "other a=1,b=2"}, {}, {Cluster: "token a=1,b=2", BumpRevision: 1, MarkCompacted: true}} {
		if restore(other) == one {
			t.Errorf("%+v makes the same cluster", other)
		}
	}
}

func TestRestoreRefusals(t *testing.T) {
	for name, config := range map[string]RestoreConfig{
		"a gap in the history": {BumpRevision: 5},
		"the revision down":    {BumpRevision: -5, MarkCompacted: true},
		"no such file":         {File: "/nowhere"},
		"a directory":          {File: "/"},
	} {
		config.DataDir = filepath.Join(t.TempDir(), "data")
		if _, err := Restore(t.Context(), config); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if _, err := os.Stat(config.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was left behind", name)
		}
	}
}

// FuzzRestore: whatever the file, there is a data directory afterwards or nothing.
func FuzzRestore(f *testing.F) {
	archived := func(files map[string]string) []byte {
		r, err := archive.NewReader(writeTree(f, files), &archive.Contents{Version: archiveVersion})
		if err != nil {
			f.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		return content
	}
	f.Add(archived(map[string]string{"a": "one", "empty": "", "sub/b": strings.Repeat("x", 100_000)}))
	f.Add(archived(map[string]string{"CURRENT": "x", "MANIFEST-000001": "y"}))
	f.Add(bytes.Repeat([]byte{0}, 1024))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := writeBackup(t, content)
		_, _ = InspectBackup(t.Context(), path, false, nil)
		dir := filepath.Join(t.TempDir(), "data")
		_, err := Restore(t.Context(), RestoreConfig{File: path, DataDir: dir, SkipHashCheck: true})
		if _, missing := os.Stat(dir); (err == nil) != (missing == nil) {
			t.Errorf("%v, and the directory: %v", err, missing)
		}
	})
}

// TestRestoreOntoAFullDisk ends with the cause, at whatever point the disk becomes full, and frees what it took.
func TestRestoreOntoAFullDisk(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.leader()
	noise := rand.NewChaCha8([32]byte{})
	for i := range 48 {
		value := make([]byte, 256<<10)
		_, _ = noise.Read(value)
		m.put(fmt.Sprint("k", i), string(value))
	}
	mount := smallDisk(t, "8m")
	for _, format := range []BackupFormat{BackupNative, BackupEtcd} {
		dir := filepath.Join(mount, "data")
		_, err := Restore(t.Context(), RestoreConfig{File: m.save(format), DataDir: dir})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no room") {
			t.Errorf("%s: %v", format, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was left behind: %v", format, err)
		}
	}
}

// writeTree writes files, with their content by their names, into a directory.
func writeTree(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	tree := fstest.MapFS{}
	for name, content := range files {
		tree[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o600}
	}
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	return dir
}
