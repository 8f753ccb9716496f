package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/client"
)

// memoryFile is a file that this process alone can open and that is never on disk: the store's commands take certificates as
// files, the kubeconfig has them inside. It lives as long as the process.
type memoryFile struct{ fd int }

func newMemoryFile(name string, content []byte) (memoryFile, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return memoryFile{}, fmt.Errorf("memory file: %w", err)
	}
	file := memoryFile{fd}
	return file, file.replace(content)
}

func (f memoryFile) path() string { return fmt.Sprintf("/proc/self/fd/%d", f.fd) }

// replace writes the file anew. Who reads it at that moment may see a part; it is read again with the next connection.
func (f memoryFile) replace(content []byte) error {
	if _, err := unix.Pwrite(f.fd, content, 0); err != nil {
		return fmt.Errorf("memory file: %w", err)
	}
	return unix.Ftruncate(f.fd, int64(len(content)))
}

// identityCheck is how often a command that goes on for long looks whether the certificate that it shows was renewed.
const identityCheck = 10 * time.Second

// identity is a user's certificate with its key.
func identity(access client.Access) []byte { return slices.Concat(access.Cert, access.Key) }

// follow replaces a user's certificate in the file whenever the kubeconfig it is from was, for connections that a command which
// goes on for long makes later. It returns when done is closed; commands let it end with the process.
func (f memoryFile) follow(kubeconfig string, every time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last fs.FileInfo
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		info, err := os.Stat(kubeconfig)
		if err != nil || last != nil && os.SameFile(info, last) && info.ModTime().Equal(last.ModTime()) {
			continue
		}
		// One that can't be read, or written, leaves the last one in use, and is looked at again.
		if access, err := client.ReadKubeconfig(kubeconfig); err == nil && f.replace(identity(access)) == nil {
			last = info
		}
	}
}
