package machine

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLeaveNeverRemovesAcrossAMount leaves a mount in what is to be removed.
func TestLeaveNeverRemovesAcrossAMount(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	kept := filepath.Join(elsewhere, "file")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mounted := filepath.Join(dir, "pods", "mounted")
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(elsewhere, mounted, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	err := removeUnmounted(dir)
	if err == nil || !strings.Contains(err.Error(), mounted+" is still mounted") {
		t.Errorf("got %v", err)
	}
	if err := syscall.Unmount(mounted, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := errors.Join(removeUnmounted(dir), removeUnmounted(dir)); err != nil { // twice is no error
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestLeaveOfAMachineThatIsNoNode(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.kubeconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Leave(t.Context(), dir, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrNoNode) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "admin.kubeconfig")); err != nil {
		t.Error(err)
	}
}
