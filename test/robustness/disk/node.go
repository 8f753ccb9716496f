package disk

import (
	"context"
	"slices"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a folder or a file as the kernel knows it.
type node struct {
	fs.Inode
	disk *Disk
	item any
}

var (
	_ = fs.NodeLookuper(&node{})
	_ = fs.NodeGetattrer(&node{})
	_ = fs.NodeSetattrer(&node{})
	_ = fs.NodeReaddirer(&node{})
	_ = fs.NodeStatfser(&node{})
	_ = fs.NodeMkdirer(&node{})
	_ = fs.NodeCreater(&node{})
	_ = fs.NodeOpener(&node{})
	_ = fs.NodeLinker(&node{})
	_ = fs.NodeUnlinker(&node{})
	_ = fs.NodeRmdirer(&node{})
	_ = fs.NodeRenamer(&node{})
	_ = fs.NodeFsyncer(&node{})
)

// enter begins an operation: it passes the faults, and then has the disk for itself.
func (n *node) enter(changes bool) (leave func(), errno syscall.Errno) {
	if errno := n.disk.faults.pass(changes); errno != 0 {
		return nil, errno
	}
	n.disk.mu.Lock()
	if n.disk.faults.is().cut {
		n.disk.mu.Unlock()
		return nil, syscall.EIO
	}
	return n.disk.mu.Unlock, 0
}

func (n *node) folder() (*folder, syscall.Errno) {
	if f, ok := n.item.(*folder); ok {
		return f, 0
	}
	return nil, syscall.ENOTDIR
}

func (n *node) child(ctx context.Context, item any, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	attr := fs.StableAttr{Mode: fuse.S_IFDIR}
	switch item := item.(type) {
	case *folder:
		attr.Ino = item.id
	case *file:
		attr.Ino, attr.Mode = item.id, fuse.S_IFREG
	}
	errno := attributes(item, &out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, item: item}, attr), errno
}

func attributes(item any, out *fuse.Attr) syscall.Errno {
	f, ok := item.(*file)
	if !ok {
		f := item.(*folder)
		out.Ino, out.Mode, out.Nlink = f.id, fuse.S_IFDIR|f.mode, 2
		return 0
	}
	var s syscall.Stat_t
	if err := syscall.Fstat(int(f.live.Fd()), &s); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&s)
	out.Ino, out.Mode, out.Nlink = f.id, fuse.S_IFREG|f.mode, uint32(f.links)
	return 0
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	leave, errno := n.enter(false)
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	f, errno := n.folder()
	if errno != 0 {
		return nil, errno
	}
	item, ok := f.items[name]
	if !ok {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, item, out)
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	leave, errno := n.enter(false)
	if errno != 0 {
		return errno
	}
	defer leave()
	return attributes(n.item, &out.Attr)
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	leave, errno := n.enter(true)
	if errno != 0 {
		return errno
	}
	defer leave()
	if mode, ok := in.GetMode(); ok {
		switch item := n.item.(type) {
		case *folder:
			item.mode = mode & 0o7777
		case *file:
			item.mode = mode & 0o7777
		}
	}
	if size, ok := in.GetSize(); ok {
		f, ok := n.item.(*file)
		if !ok {
			return syscall.EISDIR
		}
		if errno := n.disk.resize(f, int64(size)); errno != 0 {
			return errno
		}
	}
	return attributes(n.item, &out.Attr)
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	leave, errno := n.enter(false)
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	f, errno := n.folder()
	if errno != 0 {
		return nil, errno
	}
	var entries []fuse.DirEntry
	for name, item := range f.items {
		switch item := item.(type) {
		case *folder:
			entries = append(entries, fuse.DirEntry{Name: name, Ino: item.id, Mode: fuse.S_IFDIR})
		case *file:
			entries = append(entries, fuse.DirEntry{Name: name, Ino: item.id, Mode: fuse.S_IFREG})
		}
	}
	slices.SortFunc(entries, func(a, b fuse.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return fs.NewListDirStream(entries), 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	leave, errno := n.enter(false)
	if errno != 0 {
		return errno
	}
	defer leave()
	var s syscall.Statfs_t
	if err := syscall.Statfs(n.disk.dir, &s); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStatfsT(&s)
	if now := n.disk.faults.is(); now.full {
		out.Bfree = uint64(max(0, now.free)) / uint64(s.Bsize)
		out.Bavail = out.Bfree
	}
	return 0
}

// change changes the names in a folder.
func (n *node) change(do func(*folder) syscall.Errno) syscall.Errno {
	leave, errno := n.enter(true)
	if errno != 0 {
		return errno
	}
	defer leave()
	f, errno := n.folder()
	if errno != 0 {
		return errno
	}
	if errno = do(f); errno == 0 {
		n.disk.renamed = true
	}
	return errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (inode *fs.Inode, errno syscall.Errno) {
	errno = n.change(func(f *folder) syscall.Errno {
		if !n.disk.faults.allocate(4096) {
			return syscall.ENOSPC
		}
		made := &folder{n.disk.nextID, mode & 0o7777, map[string]any{}}
		n.disk.nextID++
		f.items[name] = made
		var errno syscall.Errno
		inode, errno = n.child(ctx, made, out)
		return errno
	})
	return inode, errno
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (inode *fs.Inode, h fs.FileHandle, _ uint32, errno syscall.Errno) {
	errno = n.change(func(f *folder) syscall.Errno {
		made, err := n.disk.create(mode & 0o7777)
		if err != nil {
			return fs.ToErrno(err)
		}
		made.links, made.opened = 1, 1
		f.items[name] = made
		h = &handle{made, n}
		var errno syscall.Errno
		inode, errno = n.child(ctx, made, out)
		return errno
	})
	return inode, h, 0, errno
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	leave, errno := n.enter(false)
	if errno != 0 {
		return nil, 0, errno
	}
	defer leave()
	f, ok := n.item.(*file)
	if !ok {
		return nil, 0, syscall.EISDIR
	}
	f.opened++
	return &handle{f, n}, 0, 0
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (inode *fs.Inode, errno syscall.Errno) {
	errno = n.change(func(f *folder) syscall.Errno {
		of, ok := target.(*node).item.(*file)
		if !ok {
			return syscall.EPERM
		}
		if _, there := f.items[name]; there {
			return syscall.EEXIST
		}
		of.links++
		f.items[name] = of
		var errno syscall.Errno
		inode, errno = n.child(ctx, of, out)
		return errno
	})
	return inode, errno
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return n.change(func(f *folder) syscall.Errno {
		of, ok := f.items[name].(*file)
		if !ok {
			return syscall.ENOENT
		}
		n.disk.unlink(of)
		delete(f.items, name)
		return 0
	})
}

// unlink takes a name from a file. Its content stays, as what is durable may still have it. mu is held.
func (d *Disk) unlink(f *file) {
	if f.links--; f.links > 0 {
		return
	}
	if info, err := f.live.Stat(); err == nil {
		d.faults.giveBack(info.Size())
	}
	d.forget(f)
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return n.change(func(f *folder) syscall.Errno {
		of, ok := f.items[name].(*folder)
		switch {
		case !ok:
			return syscall.ENOTDIR
		case len(of.items) > 0:
			return syscall.ENOTEMPTY
		}
		delete(f.items, name)
		return 0
	})
}

func (n *node) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	return n.change(func(f *folder) syscall.Errno {
		to, errno := newParent.(*node).folder()
		if errno != 0 {
			return errno
		}
		item, ok := f.items[name]
		if !ok {
			return syscall.ENOENT
		}
		switch replaced := to.items[newName].(type) {
		case *file:
			if replaced != item {
				n.disk.unlink(replaced)
			}
		case *folder:
			if len(replaced.items) > 0 {
				return syscall.ENOTEMPTY
			}
		}
		delete(f.items, name)
		to.items[newName] = item
		return 0
	})
}

// Fsync is that of a directory: files have handles of their own.
func (n *node) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	if of, ok := h.(*handle); ok {
		return of.Fsync(ctx, flags)
	}
	leave, errno := n.enter(true)
	if errno != 0 {
		return errno
	}
	defer leave()
	f, _ := n.item.(*file)
	return fs.ToErrno(n.disk.sync(f))
}
