package bulkload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// TestSorter adds versions in no order, of which some are of one revision.
func TestSorter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sorter")
	s, err := NewSorter(dir, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSorter(dir, quiet{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("in a directory that is there: %v", err)
	}
	for _, v := range []struct {
		rev int64
		key string
	}{{300, "a"}, {2, "c"}, {2, "b"}, {256, ""}, {1, "z"}} {
		if err := s.Add(v.rev, []byte(v.key), fmt.Append(nil, v.key, v.rev)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := s.Each(func(rev int64, key, record []byte) error {
		got = append(got, fmt.Sprintf("%d %s %s", rev, key, record))
		return nil
	}); err != nil {
		t.Error(err)
	}
	if want := []string{"1 z z1", "2 b b2", "2 c c2", "256  256", "300 a a300"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	stop := errors.New("stop")
	if err := s.Each(func(int64, []byte, []byte) error { return stop }); err != stop {
		t.Errorf("the error of visit became %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory after Close: %v", err)
	}
}
