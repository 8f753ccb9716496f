package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archive writes an image as docker save would: one layer with the binary and a file.
func archive(t *testing.T, reference string) string {
	t.Helper()
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var layerTar bytes.Buffer
	w := tar.NewWriter(&layerTar)
	for _, file := range []struct {
		name string
		mode int64
		data []byte
	}{{"bin/app", 0o755, program}, {"etc/greeting", 0o644, []byte("hello from the image\n")}} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: file.mode, Size: int64(len(file.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(file.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layerTar.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.Config(image, v1.Config{Entrypoint: []string{"/bin/app", "demo-server"}, Env: []string{"PORT=9090"}}); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLoadedImageRuns loads an archive beside a running node and runs a pod from it.
func TestLoadedImageRuns(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers:
    - name: app
      image: example.test/app:v1
      imagePullPolicy: Never
      readinessProbe: {httpGet: {path: /healthz, port: 9090}, periodSeconds: 1}
`
	k.feed(pod, "apply", "-f", "-")
	eventually(t, "the pod to miss its image", func() bool {
		return strings.Contains(k.run("get", "pod", "app"), "ErrImageNeverPull")
	})
	own := shell{t: t, path: binary}
	contains(t, own.run("image", "load", archive(t, "example.test/app:v1"), "--data-dir", c.Nodes[0].DataDir), "loaded example.test/app:v1")
	contains(t, own.run("image", "list", "--data-dir", c.Nodes[0].DataDir), "example.test/app:v1")
	k.run("wait", "--for=condition=Ready", "pod/app", "--timeout=60s")
	contains(t, k.run("logs", "app"), "serves on [::]:9090")
	own.refuse("not an archive", []string{"archive"}, "image", "load", "-", "--data-dir", c.Nodes[0].DataDir)
}
