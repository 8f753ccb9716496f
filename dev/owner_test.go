package dev

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOneOwnerADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	first, err := own(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own(dir); !errors.Is(err, errOwned) {
		t.Fatalf("a second owner: %v", err)
	}
	if !holds(os.Getpid(), dir) {
		t.Error("this process owns the directory, and is not seen to")
	}
	if _, err := Start(t.Context(), Options{Dir: dir, Masters: 1}); !errors.Is(err, ErrRuns) {
		t.Errorf("a start in an owned directory: %v", err)
	}
	// An owner that has removed the directory owns nothing of what takes its place.
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	second, err := own(dir)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := own(dir); !errors.Is(err, errOwned) {
		t.Errorf("beside the second owner: %v", err)
	}
	second.Close()
	if holds(os.Getpid(), dir) {
		t.Error("nobody owns the directory, and this process is seen to")
	}
}

func TestCleanWithoutACluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	if found, err := Clean(dir); found || err != nil {
		t.Errorf("no directory: %v, %v", found, err)
	}
	logs := filepath.Join(dir, logsDir)
	if err := os.MkdirAll(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	if found, err := Clean(dir); found || err != nil {
		t.Errorf("logs of an earlier cluster: %v, %v", found, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the logs are still there: %v", err)
	}
}

func TestImpossibleClusterIsRefused(t *testing.T) {
	for _, opts := range []Options{{Masters: 0}, {Masters: maxMasters + 1}, {Masters: 1, Nodes: -1}, {Masters: 1, Nodes: maxNodes + 1}} {
		opts.Dir = filepath.Join(t.TempDir(), "dev")
		if _, err := Start(t.Context(), opts); err == nil {
			t.Errorf("%d masters and %d nodes were started", opts.Masters, opts.Nodes)
		}
		if _, err := os.Stat(opts.Dir); !os.IsNotExist(err) {
			t.Errorf("a refused cluster left its directory: %v", err)
		}
	}
}
