package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// smallDisk is a file system of 32 MiB and 512 inodes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m,nr_inodes=512"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func oneLayer(t *testing.T, entries ...entry) v1.Image {
	t.Helper()
	content := archive(t, entries...)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestLayerThatTheDiskCantTakeLeavesNothing unpacks layers that are allowed and that fill the disk, by their bytes and by
// their number of files.
func TestLayerThatTheDiskCantTakeLeavesNothing(t *testing.T) {
	var many []entry
	for i := range 600 {
		many = append(many, entry{name: fmt.Sprint("file-", i), content: "x"})
	}
	for name, img := range map[string]v1.Image{
		"bytes": oneLayer(t, entry{name: "large", content: string(make([]byte, 40<<20))}),
		"files": oneLayer(t, many...),
	} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t)
			s := openStore(t, filepath.Join(disk, "images"))
			before, err := freeRoom(disk)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.store(t.Context(), img, []string{"example.com/large:v1"}, nil)
			if !errors.Is(err, ErrNoRoom) {
				t.Errorf("unpacking answered %v, want that there is no room", err)
			}
			for _, dir := range []string{s.layers(), s.temporary()} {
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("%s has %v, %v", dir, left, err)
				}
			}
			if _, err := s.Get("example.com/large:v1"); !errors.Is(err, ErrNotFound) {
				t.Errorf("the image is there: %v", err)
			}
			after, err := freeRoom(disk)
			if err != nil || after.bytes < before.bytes-1<<20 || after.files < before.files-8 {
				t.Errorf("free before %+v, after %+v, %v", before, after, err)
			}
			// What fits is taken as ever.
			if _, err := s.store(t.Context(), sample(t, "one"), []string{"example.com/one:v1"}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestArchiveThatTheDiskCantTakeLeavesNothing loads an archive that is larger than the disk.
func TestArchiveThatTheDiskCantTakeLeavesNothing(t *testing.T) {
	s := openStore(t, filepath.Join(smallDisk(t), "images"))
	large := archive(t, entry{name: "large", content: string(make([]byte, 40<<20))})
	if _, err := s.Load(t.Context(), bytes.NewReader(large)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("loading answered %v, want that there is no room", err)
	}
	if left, err := os.ReadDir(s.temporary()); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestLayerIsOnTheDiskBeforeItHasItsName looks at what there is when the layer is written to the disk: all of its content, and
// no layer of that name, so that a power loss at any moment leaves a whole layer or none.
func TestLayerIsOnTheDiskBeforeItHasItsName(t *testing.T) {
	s := openStore(t, t.TempDir())
	flushed := 0
	s.flush = func(dir string) error {
		flushed++
		if named, err := os.ReadDir(s.layers()); err != nil || len(named) != 0 {
			t.Errorf("layers %v have their names before they are on the disk, %v", named, err)
		}
		if content, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(content) != "content" {
			t.Errorf("the layer is flushed before it is complete: %q, %v", content, err)
		}
		return flushFileSystem(dir)
	}
	img := oneLayer(t, entry{name: "f", content: "content"})
	if _, err := s.store(t.Context(), img, []string{"example.com/a:v1"}, nil); err != nil || flushed != 1 {
		t.Errorf("stored with %d flushes, %v", flushed, err)
	}

	broken := openStore(t, t.TempDir())
	broken.flush = func(string) error { return fs.ErrInvalid }
	if _, err := broken.store(t.Context(), img, []string{"example.com/a:v1"}, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a disk that can't be written to answered %v", err)
	}
	if named, err := os.ReadDir(broken.layers()); err != nil || len(named) != 0 {
		t.Errorf("layers %v are there though they could not be written to the disk, %v", named, err)
	}
}
