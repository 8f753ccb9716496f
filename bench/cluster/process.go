package cluster

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// run starts the process and waits for it. It holds on to its thread until then: the kernel sends the signal of a parent's
// death when the thread that started the process ends.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.command.Start()
	started <- err
	if err == nil {
		_ = p.command.Wait() // how a member ended is in its log
	}
}

func (p *process) kill() {
	_ = p.command.Process.Kill() // one that has ended already is no trouble
	<-p.ended
}

// residentBytes reads the resident memory of a process from /proc.
func residentBytes(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if size, found := bytes.CutPrefix(line, []byte("VmRSS:")); found {
			kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(size), []byte(" kB"))), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS: it has ended", pid)
}
