package links

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Owner tells which of some processes has a connection to this machine's loopback interface from a local port; -1: none.
func Owner(port int, pids []int) int {
	inode, ok := inodeOf(port)
	if !ok {
		return -1
	}
	socket := "socket:[" + inode + "]"
	for i, pid := range pids {
		if pid == 0 {
			continue
		}
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, file := range files {
			if target, err := os.Readlink(dir + "/" + file.Name()); err == nil && target == socket {
				return i
			}
		}
	}
	return -1
}

// inodeOf is the inode of the socket that is bound to a port and connected.
func inodeOf(port int) (string, bool) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", false
	}
	const established = "01"
	local := fmt.Sprintf(":%04X", port)
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) > 9 && strings.HasSuffix(fields[1], local) && fields[3] == established {
			return fields[9], true
		}
	}
	return "", false
}
