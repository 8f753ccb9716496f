package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// synced has the directories noted that are synced while use runs, without the root of the test.
func synced(t *testing.T, root string, use func() error) []string {
	t.Helper()
	real := fsync
	defer func() { fsync = real }()
	var names []string
	fsync = func(f *os.File) error {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			name, _ := filepath.Rel(root, f.Name())
			names = append(names, name)
		}
		return real(f)
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestNewDirectoriesAreSyncedInTheirParents: what was synced in a new directory was gone after a power loss, with the
// directory.
func TestNewDirectoriesAreSyncedInTheirParents(t *testing.T) {
	root := t.TempDir()
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: synced %v, want %v", what, got, want)
		}
	}
	file := filepath.Join(root, "a", "b", "file")
	want("a file in new directories", synced(t, root, func() error { return WriteFile(file, nil) }), ".", "a", "a/b")
	want("one that is replaced", synced(t, root, func() error { return WriteFile(file, nil) }), "a", "a/b")
	want("a directory that is there", synced(t, root, func() error { return MakeDir(filepath.Join(root, "a", "b")) }), "a")
	want("a move", synced(t, root, func() error { return Rename(file, filepath.Join(root, "a", "file")) }), "a", "a/b")
	want("a new name", synced(t, root, func() error { return Rename(filepath.Join(root, "a", "file"), filepath.Join(root, "a", "f")) }), "a")
}
