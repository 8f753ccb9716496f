package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Annotations in which tools write an image's name into an OCI layout.
const (
	containerdName = "io.containerd.image.name"
	ociName        = "org.opencontainers.image.ref.name"
)

// Load adds the images of an archive: an OCI image layout as a tar file, or what "docker save" writes,
// either of them compressed with gzip or not. It returns the images that were added.
func (s *Store) Load(ctx context.Context, archive io.Reader) ([]Image, error) {
	adding, err := s.lock("adding.lock", syscall.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer adding.Close()
	dir, err := os.MkdirTemp(s.temporary(), "load-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	added, err := s.load(ctx, archive, dir)
	if err != nil {
		return added, fmt.Errorf("image archive: %w", err)
	}
	return added, nil
}

func (s *Store) load(ctx context.Context, archive io.Reader, dir string) ([]Image, error) {
	plain, err := decompressed(contextReader{ctx, archive})
	if err != nil {
		return nil, err
	}
	// The archive is read several times: its index is not where it is needed.
	file := filepath.Join(dir, "archive.tar")
	if err := spool(plain, file); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return os.Open(file) }
	if manifest, err := tarball.LoadManifest(opener); err == nil {
		return s.loadSaved(ctx, opener, manifest)
	}
	unpacked := filepath.Join(dir, "layout")
	if err := extractLayout(opener, unpacked); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(unpacked, "oci-layout")); err == nil {
		return s.loadLayout(ctx, unpacked)
	}
	return nil, errors.New("it is neither an OCI image layout nor what docker save writes: no oci-layout and no manifest.json in it")
}

func spool(r io.Reader, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	bounded := &room{path: filepath.Dir(path)}
	n, err := io.Copy(bounded.writer(file), io.LimitReader(r, defaultLimits.bytes+1))
	if err == nil && n > defaultLimits.bytes {
		err = errors.New("it is larger than is allowed")
	}
	return errors.Join(err, file.Close())
}

func decompressed(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(2)
	if err != nil {
		return nil, fmt.Errorf("image archive: %w", err)
	}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		return gzip.NewReader(buffered)
	}
	return buffered, nil
}

// extractLayout writes the plain files of an archive to dir; a layout has nothing else.
func extractLayout(opener tarball.Opener, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := opener()
	if err != nil {
		return err
	}
	defer file.Close()
	u := &unpacker{root: root, left: defaultLimits, room: room{path: dir}}
	archive := tar.NewReader(file)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.count(); err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := u.plainFile(header.Name, archive); err != nil {
			return fmt.Errorf("entry %q: %w", header.Name, err)
		}
	}
}

func (u *unpacker) plainFile(name string, content io.Reader) error {
	name, err := local(name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	if err := u.makeRoom(name, false); err != nil {
		return err
	}
	return u.regular(name, content)
}

// loadSaved adds the images of a docker archive.
func (s *Store) loadSaved(ctx context.Context, opener tarball.Opener, manifest tarball.Manifest) ([]Image, error) {
	var added []Image
	for _, entry := range manifest {
		tag, err := firstTag(entry.RepoTags)
		if err != nil {
			return added, err
		}
		if tag == nil && len(manifest) > 1 {
			return added, errors.New("it has several images, of which one has no name")
		}
		source, err := tarball.Image(opener, tag)
		if err != nil {
			return added, err
		}
		image, err := s.loadOne(ctx, source, entry.RepoTags)
		if err != nil {
			return added, err
		}
		added = append(added, image)
	}
	return added, nil
}

func firstTag(tags []string) (*name.Tag, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	tag, err := name.NewTag(tags[0])
	return &tag, err
}

// loadLayout adds the images of an OCI layout, those of this machine's platform where it has several.
func (s *Store) loadLayout(ctx context.Context, dir string) ([]Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var added []Image
	for _, descriptor := range manifest.Manifests {
		source, err := forPlatform(index, descriptor)
		if err != nil {
			return added, err
		}
		if source == nil {
			continue
		}
		image, err := s.loadOne(ctx, source, layoutNames(descriptor))
		if err != nil {
			return added, err
		}
		added = append(added, image)
	}
	if len(added) == 0 {
		return nil, fmt.Errorf("it has no image for %s", platform())
	}
	return added, nil
}

// forPlatform finds the image that a descriptor leads to on this machine's platform; nil when there is none.
func forPlatform(index v1.ImageIndex, descriptor v1.Descriptor) (v1.Image, error) {
	if descriptor.MediaType.IsImage() {
		if descriptor.Platform != nil && !descriptor.Platform.Satisfies(platform()) {
			return nil, nil
		}
		return index.Image(descriptor.Digest)
	}
	if !descriptor.MediaType.IsIndex() {
		return nil, nil
	}
	nested, err := index.ImageIndex(descriptor.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := nested.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, inner := range manifest.Manifests {
		if inner.MediaType.IsImage() && inner.Platform != nil && inner.Platform.Satisfies(platform()) {
			return nested.Image(inner.Digest)
		}
	}
	return nil, nil
}

// layoutNames are the names that a layout gives an image. The standard annotation is often just a tag, which
// says nothing without the repository.
func layoutNames(descriptor v1.Descriptor) []string {
	if full := descriptor.Annotations[containerdName]; full != "" {
		return []string{full}
	}
	if full := descriptor.Annotations[ociName]; strings.ContainsAny(full, "/:") {
		return []string{full}
	}
	return nil
}

func (s *Store) loadOne(ctx context.Context, source v1.Image, tags []string) (Image, error) {
	var names, digests []string
	for _, tag := range tags {
		ref, err := Parse(tag)
		if err != nil {
			return Image{}, err
		}
		if ref.Tag == "" {
			digests = append(digests, ref.Name)
		} else {
			names = append(names, ref.Name)
		}
	}
	return s.store(ctx, source, names, digests)
}
