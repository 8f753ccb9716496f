package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/durable"
)

// store unpacks an image's layers and puts it into the index under the given tag names.
func (s *Store) store(ctx context.Context, source v1.Image, names, digests []string) (Image, error) {
	config, err := source.ConfigFile()
	if err != nil {
		return Image{}, fmt.Errorf("image configuration: %w", err)
	}
	id, err := source.ConfigName()
	if err != nil {
		return Image{}, err
	}
	layers, err := source.Layers()
	if err != nil {
		return Image{}, fmt.Errorf("image layers: %w", err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return Image{}, fmt.Errorf("the image has %d layers, its configuration %d", len(layers), len(config.RootFS.DiffIDs))
	}
	adding, err := s.lock("adding.lock", syscall.LOCK_SH)
	if err != nil {
		return Image{}, err
	}
	defer adding.Close()
	image := Image{ID: id.String(), Names: names, Digests: digests, Config: config.Config}
	for i, layer := range layers {
		diffID := config.RootFS.DiffIDs[i]
		if err := s.unpackLayer(ctx, layer, diffID); err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", diffID, err)
		}
		image.Layers = append(image.Layers, diffID.String())
		if size, err := layer.Size(); err == nil {
			image.Size += size
		}
	}
	return image, s.add(image)
}

// unpackLayer makes sure that a layer is unpacked; the caller holds a share of adding.lock.
func (s *Store) unpackLayer(ctx context.Context, layer v1.Layer, diffID v1.Hash) error {
	if diffID.Algorithm != "sha256" || len(diffID.Hex) != 2*sha256.Size {
		return fmt.Errorf("digest %q is not of a kind that is known", diffID)
	}
	claim, release := s.claim(diffID.String())
	defer release()
	claim.Lock()
	defer claim.Unlock()
	return s.unpackOnce(ctx, layer, diffID)
}

func (s *Store) unpackOnce(ctx context.Context, layer v1.Layer, diffID v1.Hash) error {
	final := s.layer(diffID.String())
	if _, err := os.Stat(final); err == nil {
		return nil
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	dir, err := os.MkdirTemp(s.temporary(), "layer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := unpackVerified(ctx, content, dir, diffID); err != nil {
		return err
	}
	// A layer that has its name is complete, for ever: its content is on the disk before the name is.
	if err := s.flush(dir); err != nil {
		return fmt.Errorf("write the layer to the disk: %w", err)
	}
	err = os.Rename(dir, final)
	if _, there := os.Stat(final); there != nil {
		return err
	}
	// It is this process's layer, or that of another one which was faster.
	return durable.SyncDir(s.layers())
}

// flushFileSystem writes all that the file system of dir has in memory to the disk. That is one request, where syncing a
// layer's files one by one would be ten thousands.
func flushFileSystem(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Syncfs(int(file.Fd()))
}

func unpackVerified(ctx context.Context, content io.Reader, dir string, diffID v1.Hash) error {
	sum := sha256.New()
	hashed := io.TeeReader(contextReader{ctx, content}, sum)
	if err := unpack(hashed, dir, defaultLimits); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, hashed); err != nil { // padding after the archive's end
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != diffID.Hex {
		return fmt.Errorf("its content has the digest sha256:%s: the image is damaged or was changed", got)
	}
	return nil
}

// claim is a layer that some callers want: its lock lets one of them unpack it.
type claim struct {
	sync.Mutex
	holders int
}

func (s *Store) claim(diffID string) (_ *claim, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.claims[diffID]
	if !ok {
		c = &claim{}
		s.claims[diffID] = c
	}
	c.holders++
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.holders--; c.holders == 0 {
			delete(s.claims, diffID)
		}
	}
}

// contextReader ends a long read when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
