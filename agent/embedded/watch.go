package embedded

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
	"github.com/ctlplane/ctlplane/supervise"
)

// The wait between tries to watch a shim, which doubles.
const (
	watchRetry    = 100 * time.Millisecond
	watchRetryMax = 10 * time.Second
)

// watch waits, until Close, for a container's shim to end, and takes note of how the container did.
func (r *Runtime) watch(c *container) {
	r.watches.Go(func() { supervise.Again(r.closing, "container-watch", r.log, func() { r.noteEnd(c) }) })
}

// noteEnd waits for the end of a container and takes note of it.
func (r *Runtime) noteEnd(c *container) {
	if r.awaitEnd(c) != nil {
		return // closed: the next Runtime on this directory looks after the container
	}
	// Reaps the shim when it is a child of this process; else that is another process's business.
	_, _ = syscall.Wait4(c.started.Shim.PID, nil, syscall.WNOHANG, nil)
	exit, err := c.dir.ReadExit()
	if errors.Is(err, fs.ErrNotExist) {
		exit = r.bury(c)
	} else if err != nil {
		exit = shim.Exit{Code: 255, At: r.cfg.Clock.Now(), Problem: err.Error()}
	}
	r.finish(c, exit)
}

// awaitEnd returns nil once a container's shim has ended, or an error when the runtime is closed. Should the kernel
// not tell of the end, for want of file descriptors say, the shim is looked at again and again.
func (r *Runtime) awaitEnd(c *container) error {
	told := false
	for wait := watchRetry; ; wait = min(2*wait, watchRetryMax) {
		err := r.awaitProcess(r.closing, c.started.Shim)
		if err == nil || r.closing.Err() != nil {
			return err
		}
		if !told {
			told = true
			r.log.Error("the end of a container can't be waited for: look at it from time to time", "container", c.id, "error", err)
		}
		timer := r.cfg.Clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-r.closing.Done():
		}
		timer.Stop()
		if !c.started.Shim.Alive() {
			return nil
		}
	}
}

// awaitProcess is how the end of a process is waited for.
type awaitProcess func(ctx context.Context, p shim.Process) error

func awaitByKernel(ctx context.Context, p shim.Process) error { return p.Wait(ctx) }

// bury ends a container whose shim died without a record of its end.
func (r *Runtime) bury(c *container) shim.Exit {
	exit := shim.Exit{
		Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL), At: r.cfg.Clock.Now(),
		Problem: "the container's shim died, and the container was killed",
	}
	if err := shim.Destroy(c.dir); err != nil {
		r.log.Error("kill a container whose shim died", "container", c.id, "error", err)
	}
	if err := c.dir.WriteExit(exit); err != nil {
		r.log.Error("record a container's end", "container", c.id, "error", err)
	}
	return exit
}

// finish sets a container's end, once.
func (r *Runtime) finish(c *container, exit shim.Exit) {
	r.mu.Lock()
	first := c.exit == nil
	if first {
		c.exit = &exit
		close(c.exited)
	}
	r.mu.Unlock()
	if first {
		r.notify(runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c)
	}
}
