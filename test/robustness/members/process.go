package members

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is one run of a member. It dies with the one that started it, also when that one is killed.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// run starts a process whose output is added to a file.
func run(log, binary string, args, environment []string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own
	p := &process{command: exec.Command(binary, args...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = out, out
	p.command.Env = append(os.Environ(), environment...)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends the signal of a parent's death when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // how it ended is in its log
		}
	}()
	return p, <-started
}

func (p *process) signal(s os.Signal) { _ = p.command.Process.Signal(s) } // one that has ended is no trouble

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
