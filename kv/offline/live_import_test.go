package offline_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/kv/offline/offlinetest"
)

// TestLiveImportRefusesGaps: a revision that got lost on the way, or was changed, is found out.
func TestLiveImportRefusesGaps(t *testing.T) {
	s := open(t, kv.Options{FS: vfs.Default, Dir: filepath.Join(t.TempDir(), "from")})
	apply(t, s, put("a", "1")) // revision 2
	path, err := offlinetest.Export(s, kv.Options{Dir: filepath.Join(t.TempDir(), "checkpoint"), FS: vfs.Default}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var live *offline.LiveImport
	err = offlinetest.ReadFile(path, func(r *etcdfile.Reader) (err error) {
		live, err = offline.BeginLiveImport(t.Context(), kv.Options{FS: vfs.NewMem(), Dir: "to"}, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	of := func(rev, mod int64, key string) []etcdfile.Record {
		return []etcdfile.Record{{Revision: rev, KV: &mvccpb.KeyValue{Key: []byte(key), CreateRevision: mod, ModRevision: mod, Version: 1}}}
	}
	for name, try := range map[string]func() error{
		"got lost":        func() error { return live.Apply(4, of(4, 4, "b")) },
		"came after":      func() error { return live.Apply(2, of(2, 2, "b")) },
		"changes nothing": func() error { return live.Apply(3, nil) },
		"says revision 4": func() error { return live.Apply(3, of(3, 4, "b")) },
		"revision 3":      func() error { return live.Apply(3, of(3, 3, "")) },
		"ends at 2":       func() error { return live.Finish(offline.LiveEnd{Compacted: 3}) },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := live.Apply(3, of(3, 3, "b")); err != nil || live.Revision() != 3 || live.Keys() != 2 {
		t.Errorf("revision %d, %d keys, %v", live.Revision(), live.Keys(), err)
	}
}
