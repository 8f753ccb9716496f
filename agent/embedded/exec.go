package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
)

// maxExecOutput is how much of each of a command's output streams is kept.
const maxExecOutput = 1 << 20

// ExecSync executes a command in a running container, within timeout when that is not 0. A command that ends with
// another code than 0 gives its output and a utilexec.CodeExitError.
func (r *Runtime) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	c, err := r.container(id)
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	running := c.state() == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if !running {
		return nil, nil, fmt.Errorf("container %s is not running", id)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	cmd, err := shim.Exec(c.dir, command)
	if err != nil {
		return nil, nil, err
	}
	var out, errs cappedBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = runWithin(ctx, cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = utilexec.CodeExitError{Err: fmt.Errorf("command ended with code %d", exit.ExitCode()), Code: exit.ExitCode()}
	}
	return out.Bytes(), errs.Bytes(), err
}

// runWithin runs cmd and, when ctx ends first, asks it to kill the command in the container and end.
func runWithin(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.WaitDelay = time.Second
	release := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer release()
	err := cmd.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("command did not end in time: %w", ctx.Err())
	}
	return err
}

// cappedBuffer keeps the first maxExecOutput bytes that it is given.
type cappedBuffer struct{ bytes.Buffer }

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if room := maxExecOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
