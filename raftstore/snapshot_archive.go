package raftstore

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
)

// A snapshot crosses the wire as an archive: the magic, the size of the header in four bytes, the header
// in JSON, then each file's content in the header's order, and after each its SHA-256. The size of the
// whole is known before the first byte of content is read.

const (
	archiveMagic = "ctpsnap1"
	// maxArchiveHeader bounds the list of files: about 400,000 of them.
	maxArchiveHeader = 32 << 20
)

type archiveHeader struct {
	// Backup says what is in it, in an archive that is kept.
	Backup *archiveContents `json:"backup,omitempty"`
	Files  []archiveFile    `json:"files"`
}

type archiveFile struct {
	Name string `json:"name"` // relative, within the directory
	Size int64  `json:"size"`
}

// archiveReader streams a directory as an archive. The directory must not change meanwhile.
type archiveReader struct {
	dir     string
	files   []archiveFile
	size    int64
	current io.Reader // of what is being read: the header, or a file with its sum
	open    *os.File
}

func newArchiveReader(dir string) (*archiveReader, error) { return newBackupArchive(dir, nil) }

func newBackupArchive(dir string, contents *archiveContents) (*archiveReader, error) {
	r := &archiveReader{dir: dir}
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
		r.files = append(r.files, archiveFile{Name: filepath.ToSlash(name), Size: info.Size()})
		r.size += info.Size() + sha256.Size
		return nil
	})
	if err != nil {
		return nil, err
	}
	header, err := json.Marshal(archiveHeader{Backup: contents, Files: r.files})
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
func (r *archiveReader) Size() int64 { return r.size }

func (r *archiveReader) Read(p []byte) (int, error) {
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
func (r *archiveReader) next() error {
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
func (r *archiveReader) Close() error {
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

// unpackArchive writes an archive's files into dir, which must be fresh, checks their sums and syncs
// them. It reads to the end of the archive, and no further.
func unpackArchive(r io.Reader, dir string) error {
	header, err := readArchiveHeader(r)
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
	return syncTree(dir)
}

func readArchiveHeader(r io.Reader) (archiveHeader, error) {
	var header archiveHeader
	head := make([]byte, len(archiveMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return header, fmt.Errorf("snapshot: %w", err)
	}
	if string(head[:len(archiveMagic)]) != archiveMagic {
		return header, errors.New("snapshot: not in this version's format")
	}
	size := binary.BigEndian.Uint32(head[len(archiveMagic):])
	if size > maxArchiveHeader {
		return header, fmt.Errorf("snapshot: its header is larger than %d bytes", maxArchiveHeader)
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

func unpackFile(r io.Reader, dir string, file archiveFile) error {
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

// syncTree makes the names of all files beneath dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return durable.SyncDir(path)
	})
}
