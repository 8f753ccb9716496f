package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ctlplane/ctlplane/agent/record"
)

// ExecFailed is the exit code of a shim that could not execute the command in the container.
const ExecFailed = 126

// Exec makes the command that executes args in a running container, as the container's own user and with
// its environment. The result's output streams are the caller's to set; its exit code is that of args.
func Exec(dir Dir, args []string) (*exec.Cmd, error) {
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	cmd := Command("exec", dir)
	cmd.Env = append(cmd.Env, execVariable+"="+string(encoded))
	return cmd, nil
}

const execVariable = "CTLPLANE_SHIM_EXEC"

func executeIn(dir Dir) int {
	code, err := execute(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return ExecFailed
	}
	return code
}

func execute(dir Dir) (int, error) {
	var args []string
	if err := json.Unmarshal([]byte(os.Getenv(execVariable)), &args); err != nil || len(args) == 0 {
		return 0, errors.New("no command to execute")
	}
	task, err := dir.ReadTask()
	if err != nil {
		return 0, err
	}
	spec := &specs.Spec{}
	if err := record.Read(dir.Spec(), spec); err != nil {
		return 0, err
	}
	container, err := libcontainer.Load(dir.State(), task.ID)
	if err != nil {
		return 0, fmt.Errorf("the container is not running: %w", err)
	}
	p, err := process(spec.Process)
	if err != nil {
		return 0, err
	}
	p.Args, p.Stdin, p.Stdout, p.Stderr = args, os.Stdin, os.Stdout, os.Stderr
	if err := container.Start(p); err != nil {
		return 0, err
	}
	// Whoever asked for the command has no more use for it: it must not go on alone.
	cancelled := make(chan os.Signal, 1)
	signal.Notify(cancelled, syscall.SIGTERM)
	go func() {
		<-cancelled
		_ = p.Signal(syscall.SIGKILL)
	}()
	state, err := p.Wait()
	if state == nil {
		return 0, err
	}
	code, _ := codeOf(state)
	return code, nil
}
