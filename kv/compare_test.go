package kv

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// failer is a testing.T or a rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// compareStores fails where two stores answer differently at any revision that both can read.
func compareStores(t failer, got, want *Store) {
	t.Helper()
	g, w := got.Metrics(), want.Metrics()
	if g.Revision != w.Revision || g.CompactRevision != w.CompactRevision || g.Keys != w.Keys || g.LiveBytes != w.LiveBytes || g.StoredBytes != w.StoredBytes {
		t.Fatalf("revision %d, compacted %d, %d keys of %d bytes, %d with the history; want %d, %d, %d, %d, %d",
			g.Revision, g.CompactRevision, g.Keys, g.LiveBytes, g.StoredBytes, w.Revision, w.CompactRevision, w.Keys, w.LiveBytes, w.StoredBytes)
	}
	for rev := max(w.CompactRevision, 1); rev <= w.Revision; rev++ {
		if diff := differ(everything(t, got, rev), everything(t, want, rev)); diff != "" {
			t.Fatalf("at revision %d: %s", rev, diff)
		}
	}
	if a, b := history(t, got, w.CompactRevision), history(t, want, w.CompactRevision); !slices.Equal(a, b) {
		t.Fatalf("history:\n%s\nwant:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	compareLeases(t, got, want)
	a, b := got.Auth(), want.Auth()
	if a.Enabled() != b.Enabled() || a.Revision() != b.Revision() || !slices.Equal(a.Users(), b.Users()) || !slices.Equal(a.Roles(), b.Roles()) {
		t.Fatalf("users %v, roles %v; want %v, %v", a.Users(), a.Roles(), b.Users(), b.Roles())
	}
}

func everything(t failer, s *Store, rev int64) []*mvccpb.KeyValue {
	t.Helper()
	resp, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Kvs
}

func differ(got, want []*mvccpb.KeyValue) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d keys, want %d", len(got), len(want))
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			return fmt.Sprintf("%v, want %v", got[i], want[i])
		}
	}
	return ""
}

// history is the changes after a revision.
func history(t failer, s *Store, after int64) []string {
	h, err := layout.NewHistoryIterator(s.db, after+1, s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var all []string
	for ok := h.First(); ok; ok = h.Next() {
		all = append(all, fmt.Sprintf("%d %q %t %d", h.Rev, h.Change.Key, h.Change.Deleted, h.Change.Prev))
	}
	if h.Err != nil {
		t.Fatal(h.Err)
	}
	return all
}

func compareLeases(t failer, got, want *Store) {
	t.Helper()
	if a, b := got.Leases(), want.Leases(); len(a) != len(b) {
		t.Fatalf("%d leases, want %d", len(a), len(b))
	}
	for _, l := range want.Leases() {
		a, err := got.LeaseKeys(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.LeaseKeys(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		ttl, _ := got.LeaseTTL(l.ID)
		if granted, _ := want.LeaseTTL(l.ID); ttl != granted || !slices.EqualFunc(a, b, bytes.Equal) {
			t.Fatalf("lease %d: %d s, keys %q; want %d s, %q", l.ID, ttl, a, granted, b)
		}
	}
}
