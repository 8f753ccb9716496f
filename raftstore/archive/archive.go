// Package archive packs a directory into one stream of bytes, with checksums: a snapshot on its way to another member, or a backup
// that is kept. A Reader is for one goroutine.
package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv/offline"
)

// An archive is the magic, the size of the header in four bytes, the header in JSON, then each file's content in the header's
// order, and after each its SHA-256. The size of the whole is known before the first byte of content is read.

const (
	archiveMagic = "ctpsnap1"
	// maxHeader bounds the list of files: about 400,000 of them.
	maxHeader = 32 << 20
)

// Header is what an archive begins with.
type Header struct {
	// Backup says what is in it, in an archive that is kept.
	Backup *Contents    `json:"backup,omitempty"`
	Files  []fileHeader `json:"files"`
}

// Contents is what a backup says of itself.
type Contents struct {
	Version string `json:"version"` // of the files
	offline.Summary
}

type fileHeader struct {
	Name string `json:"name"` // relative, within the directory
	Size int64  `json:"size"`
}

// Reader streams a directory as an archive. The directory must not change meanwhile.
type Reader struct {
	dir     string
	files   []fileHeader
	size    int64
	current io.Reader // of what is being read: the header, or a file with its sum
	open    *os.File
}

// NewReader reads a directory; backup is nil where that is not kept.
func NewReader(dir string, backup *Contents) (*Reader, error) {
	r := &Reader{dir: dir}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		r.files = append(r.files, fileHeader{Name: filepath.ToSlash(name), Size: info.Size()})
		r.size += info.Size() + sha256.Size
		return nil
	})
	if err != nil {
		return nil, err
	}
	header, err := json.Marshal(Header{Backup: backup, Files: r.files})
	if err != nil {
		return nil, err
	}
	head := append([]byte(archiveMagic), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[len(archiveMagic):], uint32(len(header)))
	head = append(head, header...)
	r.size += int64(len(head))
	r.current = bytes.NewReader(head)
	return r, nil
}

// Size is how many bytes the archive has in all.
func (r *Reader) Size() int64 { return r.size }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		n, err := r.current.Read(p)
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if err != io.EOF {
			return 0, err
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to the next file, or ends the archive.
func (r *Reader) next() error {
	if err := r.Close(); err != nil {
		return err
	}
	if len(r.files) == 0 {
		return io.EOF
	}
	file := r.files[0]
	r.files = r.files[1:]
	open, err := os.Open(filepath.Join(r.dir, filepath.FromSlash(file.Name)))
	if err != nil {
		return err
	}
	r.open = open
	r.current = &summedReader{content: io.LimitReader(open, file.Size), left: file.Size, sum: sha256.New()}
	return nil
}

// Close releases the file that is being read.
func (r *Reader) Close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}

// summedReader reads a file's content and then its checksum.
type summedReader struct {
	content io.Reader
	left    int64 // of the content
	sum     hash.Hash
	tail    *bytes.Reader
}

func (r *summedReader) Read(p []byte) (int, error) {
	if r.tail != nil {
		return r.tail.Read(p)
	}
	n, err := r.content.Read(p)
	r.sum.Write(p[:n])
	r.left -= int64(n)
	if err != io.EOF {
		return n, err
	}
	if r.left != 0 {
		return n, errors.New("a snapshot's file shrank while it was sent")
	}
	r.tail = bytes.NewReader(r.sum.Sum(nil))
	if n > 0 {
		return n, nil
	}
	return r.tail.Read(p)
}

// Unpack writes an archive's files into dir, which must be fresh, checks their sums and syncs
// them. It reads to the end of the archive, and no further.
func Unpack(r io.Reader, dir string) error {
	header, err := ReadHeader(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, file := range header.Files {
		if err := unpackFile(r, dir, file); err != nil {
			return fmt.Errorf("snapshot: %s: %w", file.Name, err)
		}
	}
	return durable.SyncTree(dir)
}

// Is tells by its first bytes whether a file is an archive.
func Is(file io.ReaderAt) (bool, error) {
	magic := make([]byte, len(archiveMagic))
	if _, err := file.ReadAt(magic, 0); err != nil && err != io.EOF {
		return false, err
	}
	return string(magic) == archiveMagic, nil
}

// ReadHeader reads the beginning of an archive.
func ReadHeader(r io.Reader) (Header, error) {
	var header Header
	head := make([]byte, len(archiveMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return header, fmt.Errorf("snapshot: %w", err)
	}
	if string(head[:len(archiveMagic)]) != archiveMagic {
		return header, errors.New("snapshot: not in this version's format")
	}
	size := binary.BigEndian.Uint32(head[len(archiveMagic):])
	if size > maxHeader {
		return header, fmt.Errorf("snapshot: its header is larger than %d bytes", maxHeader)
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return header, fmt.Errorf("snapshot: %w", err)
	}
	if err := json.Unmarshal(text, &header); err != nil {
		return header, fmt.Errorf("snapshot: its header is damaged: %w", err)
	}
	return header, nil
}

func unpackFile(r io.Reader, dir string, file fileHeader) error {
	name := filepath.FromSlash(file.Name)
	if !filepath.IsLocal(name) || file.Size < 0 {
		return errors.New("not a file within the snapshot")
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(out, sum), r, file.Size)
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r, want); err != nil {
		return err
	}
	if !bytes.Equal(want, sum.Sum(nil)) {
		return errors.New("its checksum is wrong: it was damaged on the way")
	}
	return nil
}
