package kv

import (
	"bytes"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Who pages on at a revision gets the right count on each page, and none but the first has it counted.
func TestPagesKnowTheirCount(t *testing.T) {
	s := open(t, Options{})
	const keys, limit = 1000, 90
	commands := make([]Command, keys)
	for i := range commands {
		commands[i] = put(fmt.Sprintf("k%04d", i), "v")
	}
	apply(t, s, commands...)
	r := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: limit}
	seen := int64(0)
	for more := true; more; {
		resp, err := s.Range(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Count != keys-seen {
			t.Fatalf("after %d keys the count is %d", seen, resp.Count)
		}
		if known := s.counts.lookup(keys+1, r.Key, r.RangeEnd); seen > 0 && known != resp.Count {
			t.Errorf("the count of page %s is not known but counted: %d", r.Key, known)
		}
		seen += int64(len(resp.Kvs))
		more = resp.More
		if r.Revision == 0 {
			r.Revision = resp.Header.Revision
		}
		r.Key = append(bytes.Clone(resp.Kvs[len(resp.Kvs)-1].Key), 0)
		apply(t, s, put("k0000", "again"), put(fmt.Sprint("l", seen), "other"), del("k0001", "")) // changes no page
	}
	if seen != keys {
		t.Errorf("%d keys in all pages", seen)
	}
	if resp, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 1}); err != nil || resp.Count != keys-1 {
		t.Errorf("at the present: %v, %v", resp, err)
	}
}

func TestRememberedCountsAreBounded(t *testing.T) {
	var c rangeCounts
	for i := range int64(3 * rememberedCounts) {
		c.remember(i, []byte("key"), []byte("l"), i)
	}
	c.remember(1, bytes.Repeat([]byte("k"), countKeyBytes), nil, 1)
	if len(c.left) != rememberedCounts {
		t.Errorf("%d counts are remembered", len(c.left))
	}
	if got := c.lookup(3*rememberedCounts-1, []byte("key"), []byte("l")); got != 3*rememberedCounts-1 {
		t.Errorf("the newest is %d", got)
	}
	if got := c.lookup(0, []byte("key"), []byte("l")); got != -1 {
		t.Errorf("the oldest is %d", got)
	}
}

// BenchmarkPage reads pages of 100 of 100,000 keys, each from the revision of the first.
func BenchmarkPage(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, e := range [][]Command{benchCommands(50_000, 0, true), benchCommands(50_000, 50_000, true)} {
		if _, err := s.Apply([]Entry{{Index: s.AppliedIndex() + 1, Term: 1, Commands: e}}); err != nil {
			b.Fatal(err)
		}
	}
	first := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 100}
	r := first
	b.ReportAllocs()
	for b.Loop() {
		resp, err := s.Range(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		if !resp.More {
			r = first
			continue
		}
		r = &pb.RangeRequest{Key: append(resp.Kvs[99].Key, 0), RangeEnd: r.RangeEnd, Limit: 100, Revision: resp.Header.Revision}
	}
}
