package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
)

// StartContainer starts a container's shim and returns when the container's command runs. A command that
// can't be executed leaves the container exited.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if err := r.claimStart(c); err != nil {
		return err
	}
	err = launch(c.dir)
	var started shim.Started
	if err == nil {
		started, err = c.dir.ReadStarted()
	}
	if err != nil {
		r.failStart(c, err)
		return err
	}
	r.mu.Lock()
	c.started = started
	r.mu.Unlock()
	r.notify(runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, c)
	r.watch(c)
	return nil
}

// failStart ends a container whose command could not be executed, with whatever its shim may have left.
func (r *Runtime) failStart(c *container, why error) {
	exit := shim.Exit{Code: startFailed, At: r.cfg.Clock.Now(), NotStarted: true, Problem: why.Error()}
	if err := shim.Destroy(c.dir); err != nil {
		r.log.Error("remove what is left of a container that did not start", "container", c.id, "error", err)
	}
	if err := c.dir.WriteExit(exit); err != nil {
		r.log.Error("record that a container did not start", "container", c.id, "error", err)
	}
	r.finish(c, exit)
}

func (r *Runtime) claimStart(c *container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.starting || c.state() != runtimeapi.ContainerState_CONTAINER_CREATED {
		return fmt.Errorf("container %s was started before", c.id)
	}
	c.starting = true
	return nil
}

// launch runs a shim and waits for its word that the container runs. It is not cut short by a context: a
// container is either started or not, and starting takes no longer than the kernel needs.
func launch(dir shim.Dir) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	errors, err := os.OpenFile(dir.ErrorLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		write.Close()
		return err
	}
	defer errors.Close()
	cmd := shim.Command("run", dir)
	cmd.Stderr = errors
	cmd.ExtraFiles = []*os.File{write}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("start the container's shim: %w", err)
	}
	var report shim.Report
	if err := json.NewDecoder(read).Decode(&report); err != nil {
		_ = cmd.Wait()
		return fmt.Errorf("the container's shim ended without a word: %w; see %s", err, dir.ErrorLog())
	}
	if report.Error != "" {
		_ = cmd.Wait()
		return fmt.Errorf("start the container: %s", report.Error)
	}
	return cmd.Process.Release()
}

// shimPatience is how long a shim may take, once its container was killed, to empty the container's output into the log.
const shimPatience = 30 * time.Second

// StopContainer asks a container to end, kills it when it has not after timeout seconds, and returns when
// its end is on record. Stopping one that does not run is no error.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	c, err := r.container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	r.mu.Lock()
	running := c.state() == runtimeapi.ContainerState_CONTAINER_RUNNING
	process, keeper := c.started.Container, c.started.Shim
	r.mu.Unlock()
	if !running {
		return nil
	}
	if timeout > 0 {
		if err := process.Signal(r.stopSignal(c)); err != nil {
			return err
		}
		timer := r.cfg.Clock.NewTimer(time.Duration(timeout) * time.Second)
		defer timer.Stop()
		select {
		case <-c.exited:
			return nil
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := process.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return r.awaitRecord(ctx, c, keeper)
}

// awaitRecord waits until the end of a container that was killed is on record. A shim that doesn't write it down, for it is stopped
// or hangs, is killed as well; the runtime then does it.
func (r *Runtime) awaitRecord(ctx context.Context, c *container, keeper shim.Process) error {
	timer := r.cfg.Clock.NewTimer(shimPatience)
	defer timer.Stop()
	for {
		select {
		case <-c.exited:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C():
			r.log.Warn("a container's shim does not record the container's end, and is killed", "container", c.id)
			if err := keeper.Signal(unix.SIGKILL); err != nil {
				return err
			}
		}
	}
}

// stopSignal is what the image asks to be ended with.
func (r *Runtime) stopSignal(c *container) syscall.Signal {
	img, err := r.images.Get(c.image)
	if err != nil || img.Config.StopSignal == "" {
		return unix.SIGTERM
	}
	name := img.Config.StopSignal
	if number := unix.SignalNum(name); number != 0 {
		return number
	}
	if number := unix.SignalNum("SIG" + name); number != 0 {
		return number
	}
	return unix.SIGTERM
}
