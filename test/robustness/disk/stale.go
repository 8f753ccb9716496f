package disk

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// DetachStale detaches the disks of harnesses that were killed: nobody answers for them any more.
func DetachStale() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var failed error
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.Contains(line, " fuse."+fileSystem+" ") {
			continue
		}
		var s syscall.Statfs_t
		if err := syscall.Statfs(fields[4], &s); errors.Is(err, syscall.ENOTCONN) {
			failed = errors.Join(failed, syscall.Unmount(fields[4], syscall.MNT_DETACH))
		}
	}
	return failed
}
