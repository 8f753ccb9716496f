package members

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/test/robustness/disk"
)

// TestErasedDataStaysSo: the power of all members was cut just after one was wiped, which then began with the data that it had had.
func TestErasedDataStaysSo(t *testing.T) {
	dir := t.TempDir()
	m := &Member{dir: dir}
	d, err := disk.Mount(filepath.Join(dir, "below"), filepath.Dir(m.dataDir()))
	if err != nil {
		t.Fatal(err) // it takes root
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := durable.WriteFile(filepath.Join(m.dataDir(), "identity"), []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := m.erase(); err != nil {
		t.Fatal(err)
	}
	d.Cut()
	if err := d.Restore(func(int) int { return 0 }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.dataDir()); !os.IsNotExist(err) {
		t.Errorf("the data is there again: %v", err)
	}
}
