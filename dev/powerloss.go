package dev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
	"github.com/ctlplane/ctlplane/agent/machine"
	"github.com/ctlplane/ctlplane/agent/mountpoint"
)

// PowerLoss ends a node as the loss of its machine's power does: all its processes at once, with nothing put in
// order. What the machine has when it is up again is there: the files, no mounts, a network as new. Its cgroups
// stay, with nothing in them. StartNode starts the node again.
func (c *Cluster) PowerLoss(n *Node) error {
	i := slices.Index(c.Nodes, n)
	if i < 0 {
		return fmt.Errorf("node %s is not of this cluster", n.Name)
	}
	n.Kill()
	// The shims first: none may live to see its container's end.
	for _, of := range []func(pid int) bool{shimOf(n.DataDir), inCgroup(machine.CgroupRoot(n.DataDir))} {
		if err := killAll(of); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	if err := mountpoint.Detach(n.DataDir); err != nil {
		return err
	}
	if err := errors.Join(removeLink(c.segment.cable(i)), netns.DeleteNamed(n.Namespace)); err != nil {
		return err
	}
	return c.segment.addNode(i)
}

// shimOf says of processes whether they are shims of a node's containers.
func shimOf(dataDir string) func(pid int) bool {
	return func(pid int) bool {
		command, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return err == nil && strings.HasPrefix(string(command), shim.Name+"\x00") && strings.Contains(string(command), "\x00"+dataDir+"/")
	}
}

// inCgroup says of processes whether they are below a cgroup.
func inCgroup(root string) func(pid int) bool {
	return func(pid int) bool {
		cgroups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
		return err == nil && strings.Contains(string(cgroups), "/"+root+"/")
	}
}

// killAll kills all processes that are meant, and waits until there is none.
func killAll(meant func(pid int) bool) error {
	for deadline := time.Now().Add(settleTime); ; time.Sleep(pollEvery) {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		found := 0
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || !meant(pid) {
				continue
			}
			found++
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		if found == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not end", found)
		}
	}
}
