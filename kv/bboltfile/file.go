// Package bboltfile reads the database files of bbolt, etcd's storage engine, from sources that nobody vouches
// for. bbolt itself maps a file into memory and believes it: a truncated or damaged one ends the process. Here
// every offset, length and order is checked before it is used, and what is held in memory is one page for each
// level of a tree.
//
// Only files of little-endian machines are read, as amd64 and arm64 are; bbolt writes numbers in the order of
// its machine.
package bboltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// ErrFormat is wrapped by all errors that say that the content is not a whole bbolt file; any other error is
// the source's own.
var ErrFormat = errors.New("not a whole bbolt database file")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// The layout of a meta page, behind the page's header.
const (
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	metaSize    = 64 // magic, version, page size, flags, root and its sequence, free list, pages, transaction, checksum

	minPageSize = 512
	maxPageSize = 64 << 10
)

// File is an open bbolt file. It holds no resources of its own; its methods may be called by one goroutine at a
// time.
type File struct {
	source   io.ReaderAt
	pageSize int64
	pages    uint64 // pages at and above this number don't exist
	root     uint64
}

// Open looks for the newest whole state of the file in the first size bytes of source.
func Open(source io.ReaderAt, size int64) (*File, error) {
	var best *meta
	// The metas say which page size it is, and the second one lies a page behind the first.
	for _, at := range append([]int64{0}, pageSizes()...) {
		m, err := readMeta(source, at, size)
		if err != nil {
			return nil, err
		}
		if m != nil && (best == nil || m.transaction > best.transaction) {
			best = m
		}
		if best != nil && at >= best.pageSize {
			break
		}
	}
	if best == nil {
		return nil, damaged("it has no valid meta page")
	}
	if best.pages > uint64(size/best.pageSize) {
		return nil, damaged("it is cut off: %d bytes are there of %d pages of %d", size, best.pages, best.pageSize)
	}
	return &File{source: source, pageSize: best.pageSize, pages: best.pages, root: best.root}, nil
}

// Bytes is the size of the database, which what follows it in the source doesn't belong to.
func (f *File) Bytes() int64 { return int64(f.pages) * f.pageSize }

func pageSizes() []int64 {
	var all []int64
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		all = append(all, size)
	}
	return all
}

// meta is what a meta page says.
type meta struct {
	pageSize                 int64
	root, pages, transaction uint64
}

// readMeta reads the meta page at an offset; nil if there is none that is valid.
func readMeta(source io.ReaderAt, at, size int64) (*meta, error) {
	var page [pageHeaderSize + metaSize]byte
	if at+int64(len(page)) > size {
		return nil, nil
	}
	if _, err := source.ReadAt(page[:], at); err != nil {
		return nil, err
	}
	b := page[pageHeaderSize:]
	order := binary.LittleEndian
	m := &meta{
		pageSize: int64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		pages: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}
	if binary.BigEndian.Uint32(b) == metaMagic && order.Uint32(b) != metaMagic {
		return nil, damaged("it was written by a big-endian machine, whose files can't be read here")
	}
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[56:]) != checksum(b[:56]) {
		return nil, nil
	}
	if m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 || m.pages > 1<<47 {
		return nil, nil
	}
	if at != 0 && at != m.pageSize {
		return nil, nil
	}
	return m, nil
}

func checksum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// Buckets calls visit for each top-level bucket, in the order of their names. visit may keep both.
func (f *File) Buckets(visit func(name []byte, b *Bucket) error) error {
	top := &Bucket{file: f, root: f.root}
	return top.each(func(name, value []byte, isBucket bool) error {
		if !isBucket {
			return damaged("a key lies outside all buckets")
		}
		b, err := f.bucket(value)
		if err != nil {
			return err
		}
		return visit(append([]byte(nil), name...), b)
	})
}

// bucket reads a bucket's own record, in which a small bucket's only page is contained.
func (f *File) bucket(value []byte) (*Bucket, error) {
	if len(value) < bucketHeaderSize {
		return nil, damaged("a bucket's record has %d bytes", len(value))
	}
	b := &Bucket{file: f, root: binary.LittleEndian.Uint64(value)}
	if b.root == 0 {
		b.inline = append([]byte(nil), value[bucketHeaderSize:]...)
	}
	return b, nil
}
