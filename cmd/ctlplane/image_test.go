package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runImage runs an image command on a data directory.
func runImage(dir string, args ...string) (string, error) {
	root, out := newRoot(), &bytes.Buffer{}
	root.SetOut(out)
	root.SetErr(out)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(append([]string{"image", "--data-dir", dir}, args...))
	err := root.Execute()
	return out.String(), err
}

// TestImageListShowsTheBuiltInImage asks for the images of a node that was given none.
func TestImageListShowsTheBuiltInImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := runImage(dir, "list"); err != nil || !strings.Contains(out, "ctlplane.local/demo:latest") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestImagesOfNoNode asks for images where no node is: it is told, and nothing is made there.
func TestImagesOfNoNode(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"load", "-"}} {
		dir := t.TempDir()
		_, err := runImage(dir, args...)
		if err == nil || !strings.Contains(err.Error(), "this machine is no node: "+dir+" holds no node's data") {
			t.Errorf("image %v: %v", args, err)
		}
		if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
			t.Errorf("image %v made %v, %v", args, made, err)
		}
	}
}
