package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ctlplane/ctlplane/agent/record"
)

// drainTime bounds the wait for a dead container's last output. All processes of its PID namespace are
// gone with it; only a process outside, in a pod that shares the node's PIDs, can hold the pipe open.
const drainTime = 2 * time.Second

// Report is what a shim writes to its starter: an empty Error says that the container's command runs.
type Report struct {
	Error string `json:"error,omitempty"`
}

// run is a shim's life: start the container, tell the starter, carry its output, record its end.
func run(dir Dir) error {
	// The terminal and the agent's end must not take the container down with them.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGTERM)
	status := os.NewFile(statusFD, "status")
	c, err := start(dir)
	report := Report{}
	if err != nil {
		report.Error = err.Error()
	}
	// An agent that went away in the meantime finds the container by its record.
	_ = json.NewEncoder(status).Encode(report)
	status.Close()
	if err != nil {
		return err
	}
	return c.wait()
}

// running is a container that has been started by this process.
type running struct {
	dir       Dir
	container *libcontainer.Container
	process   *libcontainer.Process
	log       *logFile
	copies    sync.WaitGroup
	pipes     []*os.File
}

func start(dir Dir) (_ *running, err error) {
	task, err := dir.ReadTask()
	if err != nil {
		return nil, err
	}
	spec, config, err := configuration(dir, task)
	if err != nil {
		return nil, err
	}
	r := &running{dir: dir}
	if r.log, err = openLog(task.LogPath, task.LogMaxBytes, task.LogMaxFiles); err != nil {
		return nil, fmt.Errorf("open the container's log: %w", err)
	}
	if r.container, err = libcontainer.Create(dir.State(), task.ID, config); err != nil {
		return nil, fmt.Errorf("create the container: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.container.Destroy())
		}
	}()
	if r.process, err = process(spec.Process); err != nil {
		return nil, err
	}
	r.process.Init = true
	closeEnds, err := r.connect()
	if err != nil {
		return nil, err
	}
	err = r.launch()
	closeEnds()
	return r, err
}

// connect gives the container's process one pipe for each output and starts to empty them.
func (r *running) connect() (closeEnds func(), err error) {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.process.Stdout, r.process.Stderr = outWrite, errWrite
	r.pipes = []*os.File{outRead, errRead}
	r.copies.Go(func() { r.log.copy("stdout", outRead) })
	r.copies.Go(func() { r.log.copy("stderr", errRead) })
	return func() { outWrite.Close(); errWrite.Close() }, nil
}

// launch starts the container's first process and, once it is on record, lets it execute the command.
func (r *running) launch() error {
	if err := r.container.Start(r.process); err != nil {
		return err
	}
	pid, err := r.process.Pid()
	if err != nil {
		return err
	}
	entry := Started{At: time.Now()}
	if entry.Container, err = processOf(pid); err == nil {
		entry.Shim, err = processOf(os.Getpid())
	}
	if err == nil {
		err = record.Write(r.dir.started(), entry)
	}
	if err == nil {
		err = r.container.Exec()
	}
	if err != nil {
		_ = r.container.Signal(syscall.SIGKILL)
		_, _ = r.process.Wait()
	}
	return err
}

func (r *running) wait() error {
	state, err := r.process.Wait()
	exit := Exit{At: time.Now(), Code: 255}
	if state != nil {
		exit.Code, exit.Signal = codeOf(state)
	} else {
		fmt.Fprintln(os.Stderr, "wait for the container:", err)
	}
	exit.OOMKilled = exit.Code != 0 && r.oomKilled()
	r.drain()
	// The container's cgroup goes before its end is on record: who reads the record may remove the rest.
	if err := r.container.Destroy(); err != nil {
		fmt.Fprintln(os.Stderr, "destroy the container:", err)
	}
	return r.dir.WriteExit(exit)
}

func (r *running) oomKilled() bool {
	config := r.container.Config()
	m, err := manager.New(config.Cgroups)
	if err != nil {
		return false
	}
	kills, err := m.OOMKillCount()
	return err == nil && kills > 0
}

// drain takes what is left in the pipes to the log.
func (r *running) drain() {
	for _, pipe := range r.pipes {
		_ = pipe.SetReadDeadline(time.Now().Add(drainTime))
	}
	r.copies.Wait()
	for _, pipe := range r.pipes {
		pipe.Close()
	}
	r.log.close()
}

func codeOf(state *os.ProcessState) (code, sig int) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return state.ExitCode(), 0
}

// configuration turns the OCI specification into libcontainer's own.
func configuration(dir Dir, task Task) (*specs.Spec, *configs.Config, error) {
	spec := &specs.Spec{}
	if err := record.Read(dir.Spec(), spec); err != nil {
		return nil, nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:   task.CgroupPath,
		Spec:         spec,
		NoNewKeyring: true,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("container specification: %w", err)
	}
	return spec, config, nil
}

// Destroy kills whatever is left of a container whose shim is gone, and removes its cgroup. One that never
// started, or is destroyed already, is no error.
func Destroy(dir Dir) error {
	task, err := dir.ReadTask()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	container, err := libcontainer.Load(dir.State(), task.ID)
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := container.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
		return err
	}
	return container.Destroy()
}
