package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// realEtcd builds etcd and etcdutl, from the module of the systems that we are compared with.
func realEtcd(t *testing.T) (etcd, etcdutl string) {
	t.Helper()
	dir := t.TempDir()
	for name, pkg := range map[string]string{"etcd": ".", "etcdutl": "go.etcd.io/etcd/etcdutl/v3"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		build.Dir = filepath.Join("..", "..", "bench", "peers")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return filepath.Join(dir, "etcd"), filepath.Join(dir, "etcdutl")
}

// single is the flags of a cluster of one on a data directory, and where its clients go.
func single(t *testing.T, dataDir string) (flags []string, client string) {
	t.Helper()
	client = freeAddress(t)
	peer := "http://" + freeAddress(t)
	return []string{
		"--name", "default", "--data-dir", dataDir,
		"--listen-client-urls", "http://" + client, "--advertise-client-urls", "http://" + client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}, client
}

// TestMoveFromEtcdAndBack takes a hundred thousand keys, their history, leases and users out of a real etcd, into
// ctlplane, and from there into a real etcd again; each time every client sees the same.
func TestMoveFromEtcdAndBack(t *testing.T) {
	etcd, etcdutl := realEtcd(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	ours := shell{t: t, path: binary}

	flags, address := single(t, at("etcd"))
	source := startServer(t, etcd, nil, flags...)
	source.waitReady()
	compacted := fill(t, storeClient(t, address, "", ""))
	want := takePicture(t, storeClient(t, address, "root", "secret"), compacted)
	asRoot := func(address string) []string {
		return []string{"--endpoints", "http://" + address, "--user", "root:secret", "--insecure-transport"}
	}
	shell{t: t, path: "etcdctl", env: []string{"ETCDCTL_API=3"}}.run(
		"--endpoints", "http://"+address, "--user", "root:secret", "snapshot", "save", at("etcd.db"))
	source.stop()

	var status, statusOfEtcd struct{ Hash, Revision, TotalKey, TotalSize int64 }
	for path, into := range map[string]any{binary: &status, etcdutl: &statusOfEtcd} {
		if err := json.Unmarshal([]byte(shell{t: t, path: path}.run("snapshot", "status", at("etcd.db"), "-w", "json")), into); err != nil {
			t.Fatal(err)
		}
	}
	if status != statusOfEtcd || status.TotalKey != 99_980 {
		t.Errorf("status %+v, etcdutl says %+v", status, statusOfEtcd)
	}

	contains(t, ours.run("snapshot", "import", at("etcd.db"), "--data-dir", at("ours")), "99980 keys")
	flags, address = single(t, at("ours"))
	taken := startServer(t, binary, nil, append([]string{"etcd"}, flags...)...)
	taken.waitReady()
	c := storeClient(t, address, "root", "secret")
	if got := takePicture(t, c, compacted); !reflect.DeepEqual(got, want) {
		t.Errorf("after the import:\n%+v\nwant:\n%+v", got, want)
	}
	reader := storeClient(t, address, "reader", "pass")
	if _, err := reader.Get(t.Context(), "key/000001"); err != nil {
		t.Error(err)
	}
	if _, err := reader.Put(t.Context(), "key/000001", "x"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("a reader's put: %v", err)
	}

	ours.run(append([]string{"snapshot", "export", at("back.db")}, asRoot(address)...)...)
	ours.run(append([]string{"snapshot", "save", at("native")}, asRoot(address)...)...)
	taken.stop()
	ours.run("snapshot", "export", at("converted.db"), "--from", at("native"))
	for _, name := range []string{"back.db", "converted.db"} {
		backToEtcd(t, etcd, etcdutl, at(name), at(name+".etcd"), want)
	}
}

// backToEtcd starts a real etcd from a file, and compares what it shows.
func backToEtcd(t *testing.T, etcd, etcdutl, file, dataDir string, want picture) {
	t.Helper()
	contains(t, shell{t: t, path: etcdutl}.run("snapshot", "status", file), "99980", "3.7.0")
	server, address := startRestored(t, etcd, etcdutl, file, dataDir)
	if got := takePicture(t, storeClient(t, address, "root", "secret"), want.Compacted); !reflect.DeepEqual(got, want) {
		t.Errorf("etcd from %s:\n%+v\nwant:\n%+v", filepath.Base(file), got, want)
	}
	server.stop()
}

// startRestored starts a real etcd on what etcdutl restores from a file.
func startRestored(t *testing.T, etcd, etcdutl, file, dataDir string) (server *etcdProcess, client string) {
	t.Helper()
	flags, client := single(t, dataDir)
	restore := []string{"snapshot", "restore", file, "--data-dir", dataDir, "--name", "default"}
	for i := range flags {
		if flags[i] == "--initial-cluster" || flags[i] == "--initial-advertise-peer-urls" {
			restore = append(restore, flags[i], flags[i+1])
		}
	}
	shell{t: t, path: etcdutl}.run(restore...)
	server = startServer(t, etcd, nil, flags...)
	server.waitReady()
	return server, client
}

// TestSnapshotByEtcdctl: after the same writes, the history that etcdctl saves from ctlplane is, byte by byte, the one that it
// saves from etcd; an etcd that is restored from it has it too, and ctlplane takes the file as well.
func TestSnapshotByEtcdctl(t *testing.T) {
	etcd, etcdutl := realEtcd(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	hashes := map[string]int64{}
	for name, program := range map[string][]string{"etcd": {etcd}, "ours": {binary, "etcd"}} {
		flags, address := single(t, at(name))
		server := startServer(t, program[0], nil, append(program[1:len(program):len(program)], flags...)...)
		server.waitReady()
		writeHistory(t, storeClient(t, address, "", ""))
		shell{t: t, path: "etcdctl", env: []string{"ETCDCTL_API=3"}}.run("--endpoints", "http://"+address, "snapshot", "save", at(name+".db"))
		server.stop()
		var hash struct{ Hash int64 }
		// On a copy: etcdutl writes to what it reads, and the checksum at the end is then no longer the file's.
		shell{t: t, path: "cp"}.run(at(name+".db"), at(name+".copy"))
		if err := json.Unmarshal([]byte(shell{t: t, path: etcdutl}.run("hashkv", at(name+".copy"), "-w", "json")), &hash); err != nil {
			t.Fatal(err)
		}
		hashes[name] = hash.Hash
	}
	if hashes["ours"] != hashes["etcd"] {
		t.Errorf("the saved history has the hash %d, etcd's %d", hashes["ours"], hashes["etcd"])
	}
	server, address := startRestored(t, etcd, etcdutl, at("ours.db"), at("restored"))
	restored, err := storeClient(t, address, "", "").HashKV(t.Context(), "http://"+address, 0)
	if err != nil || int64(restored.Hash) != hashes["etcd"] {
		t.Errorf("an etcd restored from it: %v, %v; want the hash %d", restored, err, hashes["etcd"])
	}
	server.stop()
	ours := shell{t: t, path: binary}
	contains(t, ours.run("snapshot", "import", at("ours.db"), "--data-dir", at("imported")), "3 keys", "revision 12")
	contains(t, ours.run("snapshot", "restore", at("ours.db"), "--data-dir", at("again")), "3 keys", "revision 1000000012")
}

// writeHistory puts, changes and deletes keys, alone and in transactions, with a compaction on the way.
func writeHistory(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	do := func(ops ...clientv3.Op) {
		t.Helper()
		if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	const lease = 7 // not one by chance, which would be another on each server
	if _, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: lease, TTL: 3600}); err != nil {
		t.Fatal(err)
	}
	do(clientv3.OpPut("a", "1"))
	do(clientv3.OpPut("b", "1"))
	do(clientv3.OpPut("a", "2"))
	do(clientv3.OpPut("c", "1"))
	do(clientv3.OpDelete("b")) // revision 6
	if _, err := c.Compact(ctx, 6, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	do(clientv3.OpPut("d", "1"), clientv3.OpDelete("a"), clientv3.OpPut("b", "2"), clientv3.OpPut("e", "1"))
	do(clientv3.OpPut("d", "2"))
	do(clientv3.OpDelete("d", clientv3.WithRange("f")))
	do(clientv3.OpPut("f", "leased", clientv3.WithLease(lease)))
	do(clientv3.OpDelete("c"))
	do(clientv3.OpPut("c", "2")) // revision 12
}

// TestRestoreOfALostCluster goes back to a backup with all three members: one is restored, the others join it.
func TestRestoreOfALostCluster(t *testing.T) {
	c := newEtcdCluster(t, "http", "a", "b", "c")
	c.startAll()
	kv := storeClient(t, c.clients["a"], "", "")
	put(t.Context(), t, kv, "before", "1")
	ours := shell{t: t, path: binary}
	backup := filepath.Join(c.dir, "backup")
	contains(t, ours.run("snapshot", "save", backup, "--endpoints", "http://"+c.clients["b"], "--insecure-transport"), "saved")
	put(t.Context(), t, kv, "after", "2")
	last, err := kv.Get(t.Context(), "after")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.names {
		c.processes[name].stop()
		if err := os.RemoveAll(c.dataDir(name)); err != nil {
			t.Fatal(err)
		}
	}

	contains(t, ours.run("snapshot", "restore", backup, "--data-dir", c.dataDir("a")), "beginning of cluster")
	ours.refuse("", []string{"not empty"}, "snapshot", "restore", backup, "--data-dir", c.dataDir("a"))
	c.startAll()
	for _, name := range c.names {
		one := storeClient(t, c.clients[name], "", "")
		got, err := one.Get(t.Context(), "", clientv3.WithPrefix())
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Key) != "before" {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		if got.Header.Revision <= last.Header.Revision {
			t.Errorf("%s: revision %d was %d before", name, got.Header.Revision, last.Header.Revision)
		}
		watch := <-one.Watch(t.Context(), "before", clientv3.WithRev(last.Header.Revision))
		if !errors.Is(watch.Err(), rpctypes.ErrCompacted) {
			t.Errorf("%s: a watch from before: %+v", name, watch)
		}
	}
}

// TestRestoreOfEveryMember is etcd's way: each member is restored from the same file.
func TestRestoreOfEveryMember(t *testing.T) {
	c := newEtcdCluster(t, "http", "a", "b", "c")
	c.startAll()
	put(t.Context(), t, storeClient(t, c.clients["a"], "", ""), "key", "value")
	ours := shell{t: t, path: binary}
	backup := filepath.Join(c.dir, "backup")
	ours.run("snapshot", "save", backup, "--format", "etcd", "--endpoints", "http://"+c.clients["c"], "--insecure-transport")
	for _, name := range c.names {
		c.processes[name].stop()
		if err := os.RemoveAll(c.dataDir(name)); err != nil {
			t.Fatal(err)
		}
		ours.run("snapshot", "restore", backup, "--data-dir", c.dataDir(name), "--name", name,
			"--initial-cluster", c.initial(), "--initial-advertise-peer-urls", "http://"+c.peers[name])
	}
	c.startAll()
	for _, name := range c.names {
		got, err := storeClient(t, c.clients[name], "", "").Get(t.Context(), "key")
		if err != nil || len(got.Kvs) != 1 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestSnapshotErrors: what is no snapshot is refused with its cause, and leaves nothing behind.
func TestSnapshotErrors(t *testing.T) {
	dir := t.TempDir()
	ours := shell{t: t, path: binary}
	flags, address := single(t, filepath.Join(dir, "data"))
	startServer(t, binary, nil, append([]string{"etcd"}, flags...)...).waitReady()
	good := map[string]string{"native": filepath.Join(dir, "native"), "etcd": filepath.Join(dir, "etcd")}
	access := []string{"--endpoints", "http://" + address, "--insecure-transport"}
	ours.run(append([]string{"snapshot", "save", good["native"]}, access...)...)
	ours.run(append([]string{"snapshot", "save", "--format", "etcd", good["etcd"]}, access...)...)
	ours.refuse("", []string{"already exists"}, append([]string{"snapshot", "save", good["native"]}, access...)...)

	bad := map[string]string{}
	for name, path := range good {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := append([]byte(nil), content...)
		changed[len(changed)/2] ^= 1
		for kind, content := range map[string][]byte{"cut": content[:len(content)-100], "changed": changed, "empty": nil, "text": []byte(strings.Repeat("no database\n", 1000))} {
			path := filepath.Join(dir, name+"-"+kind)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			bad[path] = kind
		}
	}
	for path := range bad {
		to := filepath.Join(dir, "restored")
		ours.refuse("", []string{"not a snapshot"}, "snapshot", "restore", path, "--data-dir", to)
		ours.refuse("", []string{"not a snapshot"}, "snapshot", "status", path)
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was left behind: %v", path, err)
		}
	}
}
