package kv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// TestASweepThatWasCutOff: whatever part of a sweep was done, the store answers as one in which nothing was removed, an export of it
// does so as well, and a walk removes the rest.
func TestASweepThatWasCutOff(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		whole, swept := openHarness(t), openHarness(t)
		defer func() { whole.close(t); swept.close(t) }()
		for _, h := range []*harness{whole, swept} {
			h.store.compact.stop() // nothing is removed but below
			h.store.compact.ctx = context.Background()
		}
		for range rapid.IntRange(1, 5).Draw(t, "batches") {
			whole.apply(t)
			if rapid.Bool().Draw(t, "churn") {
				whole.applyBatch(t, []Command{{Txn: genChurn(t, genKey(t))}})
			}
		}
		whole.applyBatch(t, []Command{{Compact: &pb.CompactionRequest{Revision: rapid.Int64Range(1, whole.model.rev()).Draw(t, "compacted")}}})
		whole.apply(t)
		if _, err := swept.store.Apply(whole.entries); err != nil {
			t.Fatal(err)
		}
		sweepSome(t, swept.store, rapid.IntRange(0, storedVersions(t, whole.store)).Draw(t, "versions"))
		compareStores(t, swept.store, whole.store)

		o := swept.store.options
		o.Dir = "imported"
		compareImported(t, swept.store, dir, o)

		for _, h := range []*harness{whole, swept} {
			for h.store.compact.behind() {
				if err := h.store.compact.step(h.store.CompactRevision()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want, got := contents(t, whole.store), contents(t, swept.store); !bytes.Equal(want, got) {
			t.Fatalf("contents differ:\n%q\n%q", want, got)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

// sweepSome does what a sweep has done once it has come past a number of versions.
func sweepSome(t *rapid.T, store *Store, versions int) {
	if !store.compact.behind() {
		return
	}
	s := &sweep{compactor: store.compact, target: store.CompactRevision(), batch: store.db.NewBatch()}
	defer s.batch.Close()
	err := layout.EachMeta(store.db, layout.SectionVersion, func(k, _ []byte) error {
		if versions--; versions < 0 {
			return nil
		}
		return s.visit(k)
	})
	if err == nil {
		err = store.compact.flushPart(s.batch)
	}
	if err != nil {
		t.Fatal(err)
	}
}
