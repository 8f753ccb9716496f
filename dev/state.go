package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/durable"
)

// Below a cluster's directory.
const (
	stateFile = "cluster.json"
	logsDir   = "logs"
)

// state is what Clean needs to know to take a cluster away whose owner died, and Start to see one that runs.
type state struct {
	Owner    int               `json:"owner"`    // the process that made the cluster
	Detached bool              `json:"detached"` // the processes live on without the owner
	Segment  *segment          `json:"segment,omitempty"`
	Nodes    map[string]string `json:"nodes"` // data directory → network namespace
}

func (c *Cluster) save() error {
	s := state{Owner: os.Getpid(), Detached: c.opts.Detach, Segment: c.segment, Nodes: map[string]string{}}
	for _, n := range c.Nodes {
		s.Nodes[n.DataDir] = n.Namespace
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(c.opts.Dir, stateFile), content)
}

// readState reads the state of the cluster in dir; nil when there is none.
func readState(dir string) (*state, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	return &s, nil
}

// Clean ends the cluster in dir, whoever runs it, and takes everything of it off the machine: processes, containers,
// network, data and logs. It tells whether there was one.
func Clean(dir string) (found bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	s, err := readState(dir)
	if err != nil {
		return false, err
	}
	lock, err := takeOver(dir)
	if err != nil {
		return s != nil, err
	}
	defer lock.Close()
	return s != nil, clean(dir)
}

// clean is Clean for the owner of dir.
func clean(dir string) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	if s != nil {
		if err := s.remove(dir); err != nil {
			return err // the state file stays, for the next time
		}
	}
	return mountpoint.RemoveAll(dir)
}

// remove takes everything that a cluster put outside of its directory off the machine.
func (s *state) remove(dir string) error {
	running, err := processes(dir)
	failed := []error{err}
	for _, pid := range running {
		failed = append(failed, killLeftover(pid, dir))
	}
	for dataDir, namespace := range s.Nodes {
		failed = append(failed, destroyNode(dataDir, namespace))
	}
	if s.Segment != nil {
		failed = append(failed, s.Segment.remove())
	}
	return errors.Join(failed...)
}

// removeData removes all that the cluster in dir has stored, but for its logs: they tell why it ended.
func removeData(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if entry.Name() != logsDir {
			failed = append(failed, mountpoint.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(failed...)
}

// processes lists the masters and agents of the cluster in dir that run.
func processes(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var running []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && belongs(pid, dir) {
			running = append(running, pid)
		}
	}
	return running, nil
}

// killLeftover kills a process of the cluster in dir.
func killLeftover(pid int, dir string) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(settleTime); belongs(pid, dir); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", pid)
		}
	}
	return nil
}

// belongs says whether a process is a master or an agent with a data directory of the cluster in dir.
func belongs(pid int, dir string) bool {
	command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || !strings.Contains(string(command), "--data-dir\x00"+dir+"/") {
		return false
	}
	arguments := strings.Split(string(command), "\x00")
	return len(arguments) > 1 && (arguments[1] == "init" || arguments[1] == "join")
}
