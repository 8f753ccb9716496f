package snapshots

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ctlplane/ctlplane/durable"
)

const (
	spareDir = "spare"
	// spareFile is not called metaFile before it is one; spareBytes is more than the meta data of a hundred members.
	spareFile  = "meta"
	spareBytes = 32 << 10
)

// makeSpare claims what a snapshot of the member's own takes on the disk, unless there is one already: a directory with a file. On a
// disk that is full to the last byte such a snapshot is the way out, as it lets the log be cut, and must not fail for a few bytes
// itself. It is called again after each snapshot, so an error is the next call's affair.
func (s *Store) makeSpare() {
	dir := filepath.Join(s.dir, spareDir)
	if _, err := os.Stat(dir); err == nil {
		return
	}
	temp, err := s.MakeTemp("spare")
	if err != nil {
		return
	}
	err = durable.Replace(filepath.Join(temp, spareFile), make([]byte, spareBytes)) // written, and so claimed on any file system
	if err == nil {
		err = durable.Rename(temp, dir)
	}
	if err != nil {
		_ = os.RemoveAll(temp) // the next start does, otherwise
	}
}

// takeSpare makes the spare the directory of a snapshot. The error is full where there is none.
func (s *Store) takeSpare(dir string, full error) error {
	err := durable.Rename(filepath.Join(s.dir, spareDir), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return full
	}
	return err
}

// writeSpare makes the meta data of a snapshot out of the spare's file, in the place that this has on the disk.
func writeSpare(dir string, content []byte) (err error) {
	if len(content) > spareBytes {
		return fmt.Errorf("a snapshot's meta data of %d bytes on a full disk: %w", len(content), syscall.ENOSPC)
	}
	file, err := os.OpenFile(filepath.Join(dir, spareFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	// Blanks, which JSON ignores, rather than a shorter file: no block is given up before the name is there.
	_, err = file.WriteAt(append(content, bytes.Repeat([]byte{' '}, spareBytes-len(content))...), 0)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return durable.Rename(filepath.Join(dir, spareFile), filepath.Join(dir, metaFile))
}
