package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	opaqueXattr    = "trusted.overlay.opaque"
)

// limits bound what one layer may unpack to, whatever its archive says.
type limits struct {
	entries int
	bytes   int64
}

var defaultLimits = limits{entries: 2_000_000, bytes: 64 << 30}

// unpacker writes one layer's archive to a directory in the form that overlayfs wants of a lower layer.
//
//  1. Nothing outside the directory is read, created, changed or removed, whatever names and links the
//     archive holds: every access goes through root, which does not leave its directory.
//  2. An archive can't make what only overlayfs' own marks may say: character device 0:0 and overlay
//     attributes come from whiteout entries alone.
//  3. The bytes and entries of an archive are bounded, by its limits and by the room on the disk.
type unpacker struct {
	root  *os.Root
	left  limits
	room  room
	times []dirTime
}

type dirTime struct {
	name string
	at   time.Time
}

// unpack writes the layer archive r to the empty directory dir.
func unpack(r io.Reader, dir string, bound limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, left: bound, room: room{path: dir}}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("layer archive: %w", err)
		}
		if err := u.entry(header, archive); err != nil {
			return fmt.Errorf("layer archive: entry %q: %w", header.Name, err)
		}
	}
}

// finish sets the directories' times, which creating files in them has changed.
func (u *unpacker) finish() error {
	for i := len(u.times) - 1; i >= 0; i-- {
		// A later entry may have replaced the directory: then its time is no longer of interest.
		if err := u.root.Chtimes(u.times[i].name, u.times[i].at, u.times[i].at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if err := u.count(); err != nil {
		return err
	}
	name, err := local(header.Name)
	if err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	}
	if name == "." {
		return u.attributes(name, header)
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if base := path.Base(name); strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(path.Dir(name), base)
	}
	if err := u.makeRoom(name, header.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	if err := u.create(name, header, content); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeLink {
		return nil // has its attributes from what it links to
	}
	return u.attributes(name, header)
}

// count bounds the entries of an archive.
func (u *unpacker) count() error {
	if u.left.entries--; u.left.entries < 0 {
		return errors.New("too many entries")
	}
	return u.room.take(0, 1)
}

// local makes an archive's name relative, and refuses one that points out of the archive.
func local(name string) (string, error) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return "", errors.New("leads out of the image")
	}
	return name, nil
}

// makeRoom removes what an earlier entry put at name, unless both are directories.
func (u *unpacker) makeRoom(name string, directory bool) error {
	info, err := u.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if directory && info.IsDir() {
		return nil
	}
	return u.root.RemoveAll(name)
}

func (u *unpacker) create(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		err := u.root.Mkdir(name, 0o755)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	case tar.TypeReg:
		return u.regular(name, content)
	case tar.TypeSymlink:
		return u.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		target, err := local(header.Linkname)
		if err != nil {
			return fmt.Errorf("its link %q %w", header.Linkname, err)
		}
		return u.root.Link(target, name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.device(name, header)
	}
	return fmt.Errorf("is of unknown type %q", header.Typeflag)
}

func (u *unpacker) regular(name string, content io.Reader) error {
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(u.room.writer(file), io.LimitReader(content, u.left.bytes+1))
	if u.left.bytes -= n; err == nil && u.left.bytes < 0 {
		err = errors.New("makes the layer larger than is allowed")
	}
	return errors.Join(err, file.Close())
}

func (u *unpacker) device(name string, header *tar.Header) error {
	mode := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[header.Typeflag]
	number := unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor))
	if header.Typeflag == tar.TypeChar && number == 0 {
		return errors.New("is device 0:0, which marks a deletion")
	}
	return u.mknod(name, mode, int(number))
}

func (u *unpacker) mknod(name string, mode uint32, number int) error {
	parent, err := u.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	return unix.Mknodat(int(parent.Fd()), path.Base(name), mode|0o600, number)
}

// whiteout says in overlayfs' terms that a name, or all that lower layers have in dir, is gone.
func (u *unpacker) whiteout(dir, base string) error {
	if base == opaqueMarker {
		parent, err := u.root.Open(dir)
		if err != nil {
			return err
		}
		defer parent.Close()
		return unix.Fsetxattr(int(parent.Fd()), opaqueXattr, []byte("y"), 0)
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if strings.HasPrefix(hidden, whiteoutPrefix) {
		return nil // bookkeeping of another layer format
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("hides no name")
	}
	name := path.Join(dir, hidden)
	if _, err := u.root.Lstat(name); err == nil {
		return nil // the layer itself brings a new one
	}
	return u.mknod(name, unix.S_IFCHR, 0)
}

func (u *unpacker) attributes(name string, header *tar.Header) error {
	if err := u.root.Lchown(name, header.Uid, header.Gid); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeSymlink {
		return nil
	}
	mode := header.FileInfo().Mode()
	if err := u.root.Chmod(name, mode.Perm()|mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		u.times = append(u.times, dirTime{name, header.ModTime})
	}
	if header.Typeflag != tar.TypeDir && header.Typeflag != tar.TypeReg {
		return nil // opening a device to set its attributes would act on it
	}
	return u.fileAttributes(name, header)
}

func (u *unpacker) fileAttributes(name string, header *tar.Header) error {
	file, err := u.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	for key, value := range header.PAXRecords {
		attribute, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !allowedXattr(attribute) {
			continue
		}
		err := unix.Fsetxattr(int(file.Fd()), attribute, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %s: %w", attribute, err)
		}
	}
	if header.Typeflag == tar.TypeReg {
		return u.root.Chtimes(name, header.ModTime, header.ModTime)
	}
	return nil
}

func allowedXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}
