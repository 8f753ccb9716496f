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
)

const stateFile = "cluster.json"

// state is what Clean needs to know to take a cluster away whose owner died.
type state struct {
	Segment   *segment          `json:"segment,omitempty"`
	Nodes     map[string]string `json:"nodes"` // data directory → network namespace
	Processes []int             `json:"processes"`
}

func (c *Cluster) save() error {
	s := state{Segment: c.segment, Nodes: map[string]string{}}
	for _, m := range c.Masters {
		if m.Process != nil {
			s.Processes = append(s.Processes, m.PID)
		}
	}
	for _, n := range c.Nodes {
		s.Nodes[n.DataDir] = n.Namespace
		if n.Process != nil {
			s.Processes = append(s.Processes, n.PID)
		}
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(c.opts.Dir, stateFile)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Clean takes away what a cluster in dir left on the machine: processes, containers, network and data. A
// directory with no cluster is no error.
func Clean(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, stateFile), err)
	}
	var failed []error
	for _, pid := range s.Processes {
		failed = append(failed, killLeftover(pid, dir))
	}
	for dataDir, namespace := range s.Nodes {
		failed = append(failed, destroyNode(dataDir, namespace))
	}
	if s.Segment != nil {
		failed = append(failed, s.Segment.remove())
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return removeState(dir)
}

// removeState removes the cluster's data; the logs stay for whoever wants to know.
func removeState(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		if entry.Name() != "logs" {
			failed = append(failed, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(failed...)
}

// killLeftover kills a process of the cluster in dir, if the number still belongs to it.
func killLeftover(pid int, dir string) error {
	if !belongs(pid, dir) {
		return nil
	}
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

// belongs says whether a process runs with a data directory of the cluster in dir.
func belongs(pid int, dir string) bool {
	command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(command), "--data-dir\x00"+dir+"/")
}
