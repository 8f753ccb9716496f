package bboltfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// contents are buckets with their keys.
type contents map[string]map[string]string

// write makes a file with bbolt itself.
func write(t testing.TB, c contents, pageSize int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range c {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for k, v := range keys {
				if err := b.Put([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func read(content []byte) (contents, error) {
	f, err := Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, err
	}
	c := contents{}
	err = f.Buckets(func(name []byte, b *Bucket) error {
		keys := map[string]string{}
		c[string(name)] = keys
		return b.Each(func(k, v []byte) error {
			keys[string(k)] = string(v)
			return nil
		})
	})
	return c, err
}

func sample(keys, valueBytes int) contents {
	r := rand.New(rand.NewPCG(1, 2))
	many := map[string]string{}
	for i := range keys {
		value := make([]byte, r.IntN(valueBytes+1))
		for j := range value {
			value[j] = byte(r.Uint32())
		}
		many[fmt.Sprintf("key-%08d", i*7919%keys)] = string(value)
	}
	return contents{"empty": {}, "inline": {"a": "1", "b": ""}, "many": many}
}

func TestReadWhatBboltWrote(t *testing.T) {
	for _, test := range []struct {
		name     string
		contents contents
		pageSize int
	}{
		{"nothing", contents{}, 0},
		{"inline buckets", sample(1, 10), 0},
		{"several levels", sample(20_000, 200), 0},
		{"values of many pages", sample(30, 100_000), 0},
		{"small pages", sample(500, 100), 1024},
		{"large pages", sample(5000, 100), 16 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(write(t, test.contents, test.pageSize))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(test.contents))) {
				t.Fatalf("buckets %v", slices.Sorted(maps.Keys(got)))
			}
			for name, want := range test.contents {
				if !maps.Equal(got[name], want) {
					t.Errorf("bucket %s: %d keys, want %d", name, len(got[name]), len(want))
				}
			}
		})
	}
}

// TestOneMetaDamaged takes the other one, as bbolt does: a crash may tear the one that was being written.
func TestOneMetaDamaged(t *testing.T) {
	want := sample(100, 100)
	for _, pageSize := range []int{4096, 16 << 10} {
		for page := range 2 {
			content := write(t, want, pageSize)
			content[page*pageSize+pageHeaderSize+20] ^= 1
			// The older state lacks what the last transaction wrote; it is whole nevertheless.
			if _, err := read(content); err != nil {
				t.Errorf("pages of %d, meta %d: %v", pageSize, page, err)
			}
		}
	}
}

func TestTruncatedFiles(t *testing.T) {
	content := write(t, sample(2000, 100), 0)
	whole, err := Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 1, 15, 16, 79, 4096, 8191, 8192, whole.Bytes() / 2, whole.Bytes() - 1} {
		if _, err := read(content[:size]); !errors.Is(err, ErrFormat) {
			t.Errorf("the first %d of %d bytes: %v", size, len(content), err)
		}
	}
}

// TestPagesThatLeadBack makes inner pages name each other, which must end in an error soon.
func TestPagesThatLeadBack(t *testing.T) {
	content := write(t, sample(20_000, 50), 0)
	f, err := Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	branches := 0
	for id := uint64(2); id < f.pages; id++ {
		at := int64(id) * f.pageSize
		page := content[at : at+f.pageSize]
		if page[8] != branchPage {
			continue
		}
		branches++
		for i := range int(page[10]) {
			copy(page[pageHeaderSize+i*elementSize+8:], content[at:at+8]) // its own number
		}
	}
	if branches == 0 {
		t.Fatal("no inner pages")
	}
	if _, err := read(content); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range []contents{{}, {"a": {"k": "v"}}, sample(60, 20)} {
		content := write(f, c, 1024)
		file, err := Open(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content[:file.Bytes()]) // bbolt makes files larger than they need to be
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		seal(content)
		if _, err := read(content); err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("not an error of the format: %v", err)
		}
	})
}

// seal makes the checksums of the metas right: otherwise nothing behind them would ever be looked at.
func seal(content []byte) {
	for _, at := range []int{0, 1024} {
		if len(content) < at+pageHeaderSize+metaSize {
			return
		}
		b := content[at+pageHeaderSize:]
		sum := checksum(b[:56])
		for i := range 8 {
			b[56+i] = byte(sum >> (8 * i))
		}
	}
}
