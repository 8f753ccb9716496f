package etcdfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
)

// ErrChecksum says that the SHA-256 behind a snapshot is not its content's.
var ErrChecksum = errors.New("the checksum does not fit: the file was damaged")

// HasChecksum tells from a file's size whether a SHA-256 follows the database, whose pages fill whole
// sectors of 512 bytes.
func HasChecksum(size int64) bool { return size%512 == sha256.Size }

// VerifyChecksum reads the first size bytes of source and compares their SHA-256 with the one that ends them.
// It returns the size of what is before that. progress is told of what was read.
func VerifyChecksum(ctx context.Context, source io.ReaderAt, size int64, progress func(n int)) (content int64, err error) {
	content = size - sha256.Size
	if content < 0 {
		return 0, ErrChecksum
	}
	sum := sha256.New()
	buffer := make([]byte, 1<<20)
	section := io.NewSectionReader(source, 0, content)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := section.Read(buffer)
		sum.Write(buffer[:n])
		progress(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	want := make([]byte, sha256.Size)
	if _, err := source.ReadAt(want, content); err != nil {
		return 0, err
	}
	if !bytes.Equal(want, sum.Sum(nil)) {
		return 0, ErrChecksum
	}
	return content, nil
}
