package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sample is an image of two layers.
func sample(t *testing.T, marker string) v1.Image {
	t.Helper()
	img, err := mutate.Config(empty.Image, v1.Config{Entrypoint: []string{"/run"}, Env: []string{"A=1"}, User: "1000"})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{archive(t, entry{name: "base", content: "base"}), archive(t, entry{name: "marker", content: marker})} {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func check(t *testing.T, s *Store, reference, marker string) Image {
	t.Helper()
	img, err := s.Get(reference)
	if err != nil {
		t.Fatal(err)
	}
	paths := s.LayerPaths(img)
	if len(paths) != 2 || img.Config.Entrypoint[0] != "/run" {
		t.Fatalf("image %+v", img)
	}
	content, err := os.ReadFile(filepath.Join(paths[1], "marker"))
	if err != nil || string(content) != marker {
		t.Errorf("marker %q, %v", content, err)
	}
	return img
}

func TestPull(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/team/app:v1"
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, sample(t, "pulled")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := s.Pull(t.Context(), reference, Credentials{}); err != nil {
		t.Fatal(err)
	}
	img := check(t, s, reference, "pulled")
	check(t, s, img.ID, "pulled")
	check(t, s, img.Digests[0], "pulled")
	// A later store on the directory has it still; removing it removes its layers.
	s = openStore(t, dir)
	check(t, s, reference, "pulled")
	if err := s.Remove(img.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(reference); !errors.Is(err, ErrNotFound) {
		t.Errorf("after removal: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "layers")); err != nil || len(left) != 0 {
		t.Errorf("layers that are left: %v, %v", left, err)
	}
	if _, err := s.Pull(t.Context(), strings.Replace(reference, "v1", "v2", 1), Credentials{}); err == nil || !strings.Contains(err.Error(), "v2") {
		t.Errorf("pull of what is not there: %v", err)
	}
}

func TestTwoProcessesShareAStore(t *testing.T) {
	dir := t.TempDir()
	node, tool := openStore(t, dir), openStore(t, dir)
	tag, err := name.NewTag("example.com/app:v3")
	if err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := tarball.Write(tag, sample(t, "beside"), &saved); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Get("example.com/app:v3"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := tool.Load(t.Context(), &saved); err != nil {
		t.Fatal(err)
	}
	img := check(t, node, "example.com/app:v3", "beside")
	if err := node.Remove(img.ID); err != nil {
		t.Fatal(err)
	}
	if list := tool.List(); len(list) != 0 {
		t.Errorf("images %v", list)
	}
}

func TestTagMoves(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/app:latest"
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir())
	for _, marker := range []string{"old", "new"} {
		if err := remote.Write(ref, sample(t, marker)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Pull(t.Context(), reference, Credentials{}); err != nil {
			t.Fatal(err)
		}
		check(t, s, reference, marker)
	}
}

func TestLoadDockerArchive(t *testing.T) {
	tag, err := name.NewTag("example.com/app:v3")
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	if err := tarball.Write(tag, sample(t, "saved"), &plain); err != nil {
		t.Fatal(err)
	}
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, archive := range []*bytes.Buffer{&plain, &compressed} {
		s := openStore(t, t.TempDir())
		added, err := s.Load(t.Context(), archive)
		if err != nil || len(added) != 1 {
			t.Fatalf("added %v, %v", added, err)
		}
		check(t, s, "example.com/app:v3", "saved")
	}
}

func TestLoadLayout(t *testing.T) {
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	err = path.AppendImage(sample(t, "layout"), layout.WithAnnotations(map[string]string{containerdName: "docker.io/library/app:v9"}))
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir())
	if _, err := s.Load(t.Context(), tarOf(t, dir)); err != nil {
		t.Fatal(err)
	}
	check(t, s, "app:v9", "layout")
}

func tarOf(t *testing.T, dir string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestLoadRefuses(t *testing.T) {
	s := openStore(t, t.TempDir())
	for what, content := range map[string][]byte{
		"nothing": {}, "text": []byte("this is no archive, whatever its name says it is; it is long enough to be asked"),
		"another archive": archive(t, entry{name: "README", content: "hello"}),
		"layout outside":  archive(t, entry{name: "../oci-layout", content: "{}"}),
		"bad index":       archive(t, entry{name: "oci-layout", content: "{}"}, entry{name: "index.json", content: "{"}),
		"bad manifest":    archive(t, entry{name: "manifest.json", content: `[{"Config":"../../etc/passwd","Layers":["x"]}]`}),
	} {
		if added, err := s.Load(t.Context(), bytes.NewReader(content)); err == nil {
			t.Errorf("%s: added %v", what, added)
		}
	}
	if list := s.List(); len(list) != 0 {
		t.Errorf("images %v", list)
	}
	if left, err := os.ReadDir(s.temporary()); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// lyingLayer has other content than its image's configuration says.
type lyingLayer struct{ v1.Layer }

func (l lyingLayer) Uncompressed() (io.ReadCloser, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "evil", Typeflag: tar.TypeReg, Mode: 0o644}), w.Close())
	return io.NopCloser(&out), err
}

func TestChangedLayerIsRefused(t *testing.T) {
	img := sample(t, "x")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	diffID, err := layers[0].DiffID()
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir())
	if err := s.unpackLayer(context.Background(), lyingLayer{layers[0]}, diffID); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(s.layers()); err != nil || len(left) != 0 {
		t.Errorf("layers: %v, %v", left, err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"nginx": "docker.io/library/nginx:latest", "nginx:1.27": "docker.io/library/nginx:1.27", "ctlplane.local/demo": "ctlplane.local/demo:latest",
		"localhost:5000/a/b:c": "localhost:5000/a/b:c",
	} {
		if got, err := Parse(text); err != nil || got.Name != want {
			t.Errorf("%s: %q, %v", text, got.Name, err)
		}
	}
	for _, text := range []string{"", "UPPER/case", "a:b:c", "a@sha256:short"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
}
