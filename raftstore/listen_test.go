package raftstore

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/pki"
)

// TestListenOnASocket takes over what a killed process left, and nothing else.
func TestListenOnASocket(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("file"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path("stale"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	live, err := Listen(pki.SocketAddress(path("stale")))
	if err != nil {
		t.Fatalf("over what a killed process left: %v", err)
	}
	defer live.Close()
	if info, err := os.Stat(path("stale")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	for name, want := range map[string]string{
		"stale":                     "is taken: stop the process",
		"file":                      "is no socket",
		".":                         "is no socket",
		"none/s":                    "no such file or directory",
		strings.Repeat("long", 100): "choose a shorter one",
	} {
		if _, err := Listen(pki.SocketAddress(path(name))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if kept, err := os.ReadFile(path("file")); err != nil || string(kept) != "kept" {
		t.Errorf("the file: %q, %v", kept, err)
	}
}
