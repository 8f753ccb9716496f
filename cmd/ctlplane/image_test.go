package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
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

// TestImagesAreLoadedBeforeTheFirstJoin loads an image on a machine that is no node yet, as one without a network needs: it was
// refused.
func TestImagesAreLoadedBeforeTheFirstJoin(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	archive := filepath.Join(t.TempDir(), "app.tar")
	content, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(archive, name.MustParseReference("registry.local/app:1"), content); err != nil {
		t.Fatal(err)
	}
	out, err := runImage(dir, "load", archive)
	if err != nil || !strings.Contains(out, "loaded registry.local/app:1") || !strings.Contains(out, "the images wait in "+dir) {
		t.Fatalf("%v:\n%s", err, out)
	}
	if out, err := runImage(dir, "list"); err != nil || !strings.Contains(out, "registry.local/app:1") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestImagesOfNoNode asks for images where no node is: it is told, and nothing is made there. Beside a cluster of `ctlplane dev` that
// may be a mistake even where images are loaded.
func TestImagesOfNoNode(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"load", "-"}} {
		dir := t.TempDir()
		if args[0] == "load" {
			if err := os.Mkdir(filepath.Join(dir, "dev"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		_, err := runImage(dir, args...)
		if err == nil || !strings.Contains(err.Error(), "this machine is no node: "+dir+" holds no node's data") {
			t.Errorf("image %v: %v", args, err)
		}
		if made, err := os.ReadDir(dir); err != nil || len(made) > 1 || len(made) == 1 && made[0].Name() != "dev" {
			t.Errorf("image %v made %v, %v", args, made, err)
		}
	}
}
