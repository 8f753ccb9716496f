// Package image keeps a node's container images: pulled from registries, loaded from archives, or built
// in. Layers are unpacked once and shared by all images and containers that have them.
package image

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNotFound says that the node does not have an image.
var ErrNotFound = errors.New("image is not on this node")

// Image is one image of the store.
type Image struct {
	// ID is the digest of the image's configuration, "sha256:…".
	ID string `json:"id"`
	// Names are the tags that lead to the image, whole: registry, repository, tag.
	Names []string `json:"names,omitempty"`
	// Digests are the image's names by manifest digest.
	Digests []string `json:"digests,omitempty"`
	// Layers are the digests of the uncompressed layers, lowest first.
	Layers []string  `json:"layers,omitempty"`
	Config v1.Config `json:"config"`
	// Size is the number of bytes that the image's layers take on disk.
	Size int64 `json:"size"`
	// Binds are files of the node that are part of the image.
	Binds []Bind `json:"binds,omitempty"`
}

// Bind is a file of the node that an image shows at a path of its own, read-only.
type Bind struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Store holds images under one directory. Its methods are safe for concurrent use, and several processes may
// have the directory open: a node that runs sees what was loaded beside it.
//
//  1. A layer's directory appears under its final name only when it is complete, its digest was checked and its content
//     is on the disk: a power loss leaves a whole layer or none.
//  2. An image is in the index only while all of its layers are there.
//  3. A name leads to at most one image.
//  4. The index changes only under the exclusive lock of index.lock, from what the file then holds.
//  5. Layers and temporary files that nobody knows are removed only while no process adds an image: who adds one
//     holds a share of adding.lock.
type Store struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	images  map[string]*Image // by ID, as the index file had them when it was read last
	read    fileVersion       // the index file that images were read from
	builtin map[string]*Image // by repository, any tag; not on disk
	claims  map[string]*claim // by diff ID: layers that are being unpacked

	flush func(dir string) error // writes what is in dir to the disk
}

// Open opens the store at dir, making it when there is none, and removes what a crash left half done.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, log: log, images: map[string]*Image{}, builtin: map[string]*Image{}, claims: map[string]*claim{}, flush: flushFileSystem}
	for _, path := range []string{s.layers(), s.temporary()} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
	}
	return s, s.collect()
}

func (s *Store) index() string     { return filepath.Join(s.dir, "index.json") }
func (s *Store) layers() string    { return filepath.Join(s.dir, "layers") }
func (s *Store) temporary() string { return filepath.Join(s.dir, "tmp") }
func (s *Store) layer(diffID string) string {
	return filepath.Join(s.layers(), strings.TrimPrefix(diffID, "sha256:"))
}

// LayerPaths are the directories of an image's unpacked layers, lowest first.
func (s *Store) LayerPaths(image Image) []string {
	paths := make([]string, len(image.Layers))
	for i, diffID := range image.Layers {
		paths[i] = s.layer(diffID)
	}
	return paths
}

// AddBuiltin makes image answer for a repository, whatever the tag. It is not written to disk.
func (s *Store) AddBuiltin(repository string, image Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image.Names = []string{repository + ":latest"}
	s.builtin[repository] = &image
}

// Get finds an image by name, by name and digest, or by its ID; ErrNotFound when the node does not have it.
func (s *Store) Get(reference string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return Image{}, err
	}
	return s.find(reference)
}

// find is Get for who holds the lock.
func (s *Store) find(reference string) (Image, error) {
	if image, ok := s.images[reference]; ok {
		return *image, nil
	}
	for _, image := range s.builtin {
		if image.ID == reference {
			return *image, nil
		}
	}
	ref, err := Parse(reference)
	if err != nil {
		return Image{}, err
	}
	if image, ok := s.builtin[ref.Repository]; ok {
		return *image, nil
	}
	for _, image := range s.images {
		if slices.Contains(image.Names, ref.Name) || slices.Contains(image.Digests, ref.Name) {
			return *image, nil
		}
	}
	return Image{}, fmt.Errorf("%s: %w", reference, ErrNotFound)
}

// List gives all images, built-in ones first, ordered by name.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		s.log.Warn("read the index of images", "error", err)
	}
	var list []Image
	for _, image := range s.builtin {
		list = append(list, *image)
	}
	for _, image := range s.images {
		list = append(list, *image)
	}
	slices.SortFunc(list, func(a, b Image) int { return strings.Compare(a.label(), b.label()) })
	return list
}

func (i *Image) label() string {
	return strings.Join(append(slices.Clone(i.Names), i.ID), ",")
}

// Remove forgets an image, with all its names when it is named by ID, and the layers that only it used.
// Removing what is not there is no error.
func (s *Store) Remove(reference string) error {
	err := s.change(func() error {
		image, err := s.find(reference)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		stored, ok := s.images[image.ID]
		if !ok {
			return fmt.Errorf("%s is built in and can't be removed", reference)
		}
		if ref, err := Parse(reference); err == nil && reference != image.ID {
			stored.Names = slices.DeleteFunc(slices.Clone(stored.Names), func(n string) bool { return n == ref.Name })
			stored.Digests = slices.DeleteFunc(slices.Clone(stored.Digests), func(n string) bool { return n == ref.Name })
		}
		if reference == image.ID || len(stored.Names)+len(stored.Digests) == 0 {
			delete(s.images, image.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.collect()
}

// add puts a complete image into the index. Names that led to another image lead to this one now.
func (s *Store) add(image Image) error {
	return s.change(func() error {
		for _, other := range s.images {
			other.Names = slices.DeleteFunc(slices.Clone(other.Names), func(n string) bool { return slices.Contains(image.Names, n) })
		}
		if old, ok := s.images[image.ID]; ok {
			image.Names = union(old.Names, image.Names)
			image.Digests = union(old.Digests, image.Digests)
		}
		s.images[image.ID] = &image
		return nil
	})
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// collect removes images that lack a layer and, unless somebody adds an image just now, layers and temporary
// files that no image has.
func (s *Store) collect() error {
	idle, err := s.lock("adding.lock", syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer idle.Close()
	used := map[string]bool{}
	err = s.change(func() error {
		for id, image := range s.images {
			if !s.complete(image) {
				s.log.Warn("image lacks layers and is forgotten", "image", image.label())
				delete(s.images, id)
				continue
			}
			for _, diffID := range image.Layers {
				used[filepath.Base(s.layer(diffID))] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(removeAllBut(s.layers(), used), removeAllBut(s.temporary(), nil))
}

func removeAllBut(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if !keep[entry.Name()] {
			failed = append(failed, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(failed...)
}

func (s *Store) complete(image *Image) bool {
	for _, diffID := range image.Layers {
		if _, err := os.Stat(s.layer(diffID)); err != nil {
			return false
		}
	}
	return true
}
