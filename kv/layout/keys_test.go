package layout

import (
	"bytes"
	"cmp"
	"math"
	"testing"

	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

var seedKeys = append([][]byte{[]byte("a\x00\x00\x00\x00\x00\x00\x00\x00\x0c"), bytes.Repeat([]byte{9}, 20)}, layouttest.Keys...)

// FuzzVersionKey checks round trip, order and the Comparer's laws for two versions of two keys.
func FuzzVersionKey(f *testing.F) {
	for i, a := range seedKeys {
		f.Add(a, int64(i), false, seedKeys[len(seedKeys)-1-i], int64(5), true)
		f.Add(a, int64(2), true, append(bytes.Clone(a), 0), int64(math.MaxInt64), false)
	}
	f.Fuzz(func(t *testing.T, ka []byte, ra int64, ta bool, kb []byte, rb int64, tb bool) {
		if ra < 0 || rb < 0 {
			return
		}
		a := AppendVersionKey(nil, ka, ra, mark(ta))
		b := AppendVersionKey(nil, kb, rb, mark(tb))
		if len(a) != VersionKeyLen(ka) {
			t.Fatalf("length %d, want %d", len(a), VersionKeyLen(ka))
		}
		key, rev, tombstone, ok := DecodeVersionKey(a)
		if !ok || !bytes.Equal(key, ka) || rev != ra || tombstone != ta {
			t.Fatalf("%q is decoded as %q at %d, %v, %v", a, key, rev, tombstone, ok)
		}
		want := bytes.Compare(ka, kb)
		if want == 0 {
			want = -cmp.Compare(ra, rb)
		}
		if want == 0 && ta != tb {
			want = 1 // the tombstone of a revision is newer than the value
			if ta {
				want = -1
			}
		}
		if got := CompareKeys(a, b); got != want {
			t.Fatalf("compare(%q, %q) = %d, want %d", a, b, got, want)
		}
		checkComparer(t, a, b)
	})
}

func mark(tombstone bool) byte {
	if tombstone {
		return MarkTombstone
	}
	return MarkValue
}

// checkComparer checks what Pebble asks of a Comparer, for two storage keys.
func checkComparer(t *testing.T, a, b []byte) {
	c := Comparer
	if (c.Compare(a, b) == 0) != c.Equal(a, b) {
		t.Fatalf("compare and equal disagree on %q, %q", a, b)
	}
	pa, pb := a[:c.Split(a)], b[:c.Split(b)]
	if c.Split(pa) != len(pa) || (len(pa) < len(a) && c.Compare(pa, a) >= 0) || (len(pa) < len(a) && c.Split(a[len(pa):]) != 0) {
		t.Fatalf("the split of %q into %q isn't lawful", a, pa)
	}
	if bytes.Equal(pa, pb) && c.Compare(a, b) != c.ComparePointSuffixes(a[len(pa):], b[len(pb):]) {
		t.Fatalf("%q, %q: the suffixes compare otherwise", a, b)
	}
	if x, y := c.AbbreviatedKey(a), c.AbbreviatedKey(b); x != y && (x < y) != (c.Compare(a, b) < 0) {
		t.Fatalf("the abbreviations of %q, %q compare otherwise", a, b)
	}
	if c.Compare(a, b) < 0 {
		if k := c.Separator(nil, a, b); c.Compare(a, k) > 0 || c.Compare(k, b) >= 0 {
			t.Fatalf("%q doesn't separate %q and %q", k, a, b)
		}
	}
	if k := c.Successor(nil, a); c.Compare(a, k) > 0 {
		t.Fatalf("%q doesn't succeed %q", k, a)
	}
	if k := c.ImmediateSuccessor(nil, pa); c.Split(k) != len(k) || c.Compare(pa, k) >= 0 || (!bytes.Equal(pa, pb) && c.Compare(pa, pb) < 0 && c.Compare(k, pb) > 0) {
		t.Fatalf("%q isn't the immediate successor of %q, see %q", k, pa, pb)
	}
}

func TestOtherStorageKeys(t *testing.T) {
	var keys [][]byte
	keys = append(keys, AppendAttachmentKey(nil, 1, []byte("\x09")), AppendAttachmentKey(nil, 1, []byte("a")), AppendAttachmentKey(nil, 2, nil))
	keys = append(keys, AppendVersionKey(nil, nil, 1, MarkValue), LeaseKey(1), LeaseKey(-1), MetaKey("member/8"), StateKey)
	keys = append(keys, AppendHistoryKey(nil, 1, 0), AppendHistoryKey(nil, 1, 1), AppendHistoryKey(nil, 2, 0), AppendHistoryKey(nil, 0x0908, 8))
	for i, a := range keys {
		for _, b := range keys[i+1:] {
			if CompareKeys(a, b) >= 0 {
				t.Errorf("%q isn't before %q", a, b)
			}
			checkComparer(t, a, b)
		}
	}
	if rev, sub, ok := decodeHistoryKey(keys[len(keys)-1]); !ok || rev != 0x0908 || sub != 8 {
		t.Error(rev, sub, ok)
	}
	for _, id := range []int64{0, 1, -1} {
		lower, upper := AttachmentBounds(id)
		k := AppendAttachmentKey(nil, id, []byte{0xff, 0xff})
		if CompareKeys(lower, k) > 0 || CompareKeys(k, upper) >= 0 || !bytes.Equal(DecodeAttachmentKey(k), []byte{0xff, 0xff}) {
			t.Errorf("the bounds of lease %d don't hold %q", id, k)
		}
	}
}
