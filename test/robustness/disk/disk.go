// Package disk is a file system for one member, which loses what was not synced when its power is cut, and hangs, is slow, fails or
// is full when it is told to.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a file system that is mounted. Every write passes through to a file of its own below dir, and a sync copies what was
// written since the last one to a second file, which a power cut brings back.
//
//  1. A file's content and size are durable as of its last sync. The very last write after that is torn by a power cut: its first
//     sectors are there.
//  2. Names are journaled: a sync of any file or directory makes all changes of names before it durable, as ext4 does.
//  3. From the power cut on nothing succeeds.
type Disk struct {
	dir, mountpoint string
	server          *fuse.Server

	mu      sync.Mutex // guards names, and what is durable
	root    *folder
	durable *folder
	renamed bool // names have changed since durable was made
	last    *write
	nextID  uint64

	faults faults
}

// folder is a directory. Its items are folders and files.
type folder struct {
	id    uint64
	mode  uint32
	items map[string]any
}

// file is a regular file, which may have several names, or none and be open.
type file struct {
	id   uint64
	mode uint32
	// links are its names, opened its handles; kept: a durable name is its. Without any of these it is forgotten.
	links, opened int
	kept          bool
	live          *os.File
	// synced holds what is durable, up to size; nil: nothing is. dirty are the parts of live that differ.
	synced *os.File
	size   int64
	dirty  extents
}

// write is one that was not synced yet.
type write struct {
	file *file
	at   int64
	data []byte
}

// Mount mounts an empty disk. What it holds is below dir.
func Mount(dir, mountpoint string) (*Disk, error) {
	d := &Disk{dir: dir, mountpoint: mountpoint, nextID: 2, root: &folder{id: 1, mode: 0o700, items: map[string]any{}}}
	d.durable = d.root.clone()
	for _, path := range []string{dir, mountpoint} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
	}
	return d, d.mount()
}

// fileSystem is what a disk is called among the mounts.
const fileSystem = "robustness"

func (d *Disk) mount() error {
	timeout := time.Second
	server, err := fs.Mount(d.mountpoint, &node{disk: d, item: d.root}, &fs.Options{
		EntryTimeout: &timeout, AttrTimeout: &timeout, RootStableAttr: &fs.StableAttr{Ino: 1},
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: fileSystem, Name: fileSystem, DisableXAttrs: true, MaxWrite: 1 << 20},
	})
	if err != nil {
		return fmt.Errorf("mount a disk at %s: this takes root and /dev/fuse: %w", d.mountpoint, err)
	}
	d.server = server
	return keepFromChildren()
}

// keepFromChildren has no process that is started later inherit the file system's end of its mounts, which go-fuse opens for all. A
// mount whose server has ended would not end while a member holds that, and a member can wait for nothing else.
func keepFromChildren() error {
	const open = "/proc/self/fd"
	names, err := os.ReadDir(open)
	if err != nil {
		return err
	}
	for _, name := range names {
		if to, _ := os.Readlink(filepath.Join(open, name.Name())); to != "/dev/fuse" {
			continue
		}
		fd, err := strconv.Atoi(name.Name())
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fd)
	}
	return nil
}

// Unmount ends the file system. Nobody may use it any more.
func (d *Disk) Unmount() error {
	d.faults.set(state{})
	err := d.server.Unmount()
	if err != nil {
		err = errors.Join(err, syscall.Unmount(d.mountpoint, syscall.MNT_DETACH))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root.each(func(f *file) { f.close() })
	d.durable.each(func(f *file) { f.close() })
	return err
}

// Cut cuts the power: nothing succeeds from now on.
func (d *Disk) Cut() {
	d.mu.Lock() // nothing is half done
	defer d.mu.Unlock()
	d.faults.set(state{cut: true})
}

// Restore has the disk as it is when the power is there again. Whoever used it must have ended.
func (d *Disk) Restore(sectors func(n int) int) error {
	if err := d.server.Unmount(); err != nil {
		return fmt.Errorf("unmount a disk whose power was cut: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := d.files(d.root)
	d.root, d.renamed = d.durable.clone(), false
	for f := range gone {
		f.links, f.opened = 0, 0
	}
	for f := range d.files(d.root) {
		f.links, f.opened = 0, 0
		delete(gone, f)
		if err := d.bringBack(f, sectors); err != nil {
			return err
		}
	}
	d.root.each(func(f *file) { f.links++ })
	for f := range gone {
		d.forget(f)
	}
	d.last = nil
	d.faults.set(state{})
	return d.mount()
}

// sector is the part of a write that is there or not.
const sector = 512

// bringBack makes a file's live content the durable one, and adds the first sectors of the last write.
func (d *Disk) bringBack(f *file, sectors func(n int) int) error {
	if err := f.live.Truncate(0); err != nil {
		return err
	}
	if f.synced != nil {
		if err := copyRange(f.live, f.synced, extent{0, f.size}); err != nil {
			return err
		}
	}
	if err := f.live.Truncate(f.size); err != nil {
		return err
	}
	f.dirty = nil
	if d.last == nil || d.last.file != f {
		return nil
	}
	torn := min(len(d.last.data), sector*sectors(1+len(d.last.data)/sector))
	if _, err := f.live.WriteAt(d.last.data[:torn], d.last.at); err != nil {
		return err
	}
	f.dirty.add(d.last.at, d.last.at+int64(torn))
	return nil
}

func (d *Disk) path(kind string, id uint64) string {
	return filepath.Join(d.dir, kind+"-"+strconv.FormatUint(id, 10))
}

// create makes a file without a name. mu is held.
func (d *Disk) create(mode uint32) (*file, error) {
	f := &file{id: d.nextID, mode: mode}
	live, err := os.OpenFile(d.path("live", f.id), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	d.nextID++
	f.live = live
	return f, nil
}

// sync makes a file's content durable. mu is held.
func (d *Disk) sync(f *file) error {
	if d.commit(); f == nil {
		return nil
	}
	if d.last != nil && d.last.file == f {
		d.last = nil
	}
	info, err := f.live.Stat()
	if err != nil {
		return err
	}
	if f.synced == nil {
		if f.synced, err = os.OpenFile(d.path("synced", f.id), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600); err != nil {
			return err
		}
	}
	for _, e := range f.dirty {
		if err := copyRange(f.synced, f.live, extent{e.from, min(e.to, info.Size())}); err != nil {
			return err
		}
	}
	f.size, f.dirty = info.Size(), nil
	return f.synced.Truncate(f.size)
}

// commit makes the names durable. mu is held.
func (d *Disk) commit() {
	if !d.renamed {
		return
	}
	before := d.files(d.durable)
	d.durable, d.renamed = d.root.clone(), false
	for f := range d.files(d.durable) {
		f.kept = true
		delete(before, f)
	}
	for f := range before {
		f.kept = false
		d.forget(f)
	}
}

// forget ends a file that nothing needs any more. mu is held.
func (d *Disk) forget(f *file) {
	if f.links > 0 || f.opened > 0 || f.kept {
		return
	}
	f.close()
	_ = os.Remove(d.path("live", f.id)) // what is left over goes with dir
	_ = os.Remove(d.path("synced", f.id))
}

func (d *Disk) files(in *folder) map[*file]bool {
	all := map[*file]bool{}
	in.each(func(f *file) { all[f] = true })
	return all
}

func (f *file) close() {
	_ = f.live.Close() // what is lost with it is lost on purpose
	if f.synced != nil {
		_ = f.synced.Close()
	}
}

func (f *folder) clone() *folder {
	c := &folder{f.id, f.mode, make(map[string]any, len(f.items))}
	for name, item := range f.items {
		if inner, ok := item.(*folder); ok {
			item = inner.clone()
		}
		c.items[name] = item
	}
	return c
}

// each calls do with each name of a file.
func (f *folder) each(do func(*file)) {
	for _, item := range f.items {
		switch item := item.(type) {
		case *folder:
			item.each(do)
		case *file:
			do(item)
		}
	}
}
