package embedded

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oomScoreAdj is the score that a container gets which asks for one: a lower one than this process has needs a right that
// not every machine gives to root. Without it the container gets this process's own, rather than not starting at all.
func oomScoreAdj(asked int) int {
	own, err := ownOOMScoreAdj()
	if err != nil || mayLowerOOMScore() {
		return asked
	}
	return max(asked, own)
}

func ownOOMScoreAdj() (int, error) {
	content, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// mayLowerOOMScore tells whether this process has the capability SYS_RESOURCE.
func mayLowerOOMScore() bool {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[unix.CAP_SYS_RESOURCE/32].Effective&(1<<(unix.CAP_SYS_RESOURCE%32)) != 0
}
