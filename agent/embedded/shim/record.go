package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/agent/record"
)

// Dir is the directory of one container, which the runtime and the shim share.
//
//  1. The runtime writes Spec and Task before it starts the shim, and neither afterwards.
//  2. The shim writes Started once, when the container's first process exists, and Exit once, when it is
//     gone and everything that it wrote is in the log. Both appear whole or not at all.
type Dir string

// Spec is the container's OCI runtime specification.
func (d Dir) Spec() string { return filepath.Join(string(d), "config.json") }

// RootFS is where the container's root file system is mounted.
func (d Dir) RootFS() string { return filepath.Join(string(d), "rootfs") }

// State is where libcontainer keeps what it needs to find the running container again.
func (d Dir) State() string { return filepath.Join(string(d), "state") }

// ErrorLog takes what the shim has to say about itself.
func (d Dir) ErrorLog() string { return filepath.Join(string(d), "shim.log") }

func (d Dir) task() string    { return filepath.Join(string(d), "task.json") }
func (d Dir) started() string { return filepath.Join(string(d), "started.json") }
func (d Dir) exit() string    { return filepath.Join(string(d), "exit.json") }

// Task is what a shim has to know besides the container's specification.
type Task struct {
	ID         string `json:"id"`
	CgroupPath string `json:"cgroupPath"`
	// LogPath takes the container's output in CRI's log format; empty discards it.
	LogPath string `json:"logPath,omitempty"`
	// LogMaxBytes is the size at which the log file is rotated, LogMaxFiles how many files there are then.
	LogMaxBytes int64 `json:"logMaxBytes,omitempty"`
	LogMaxFiles int   `json:"logMaxFiles,omitempty"`
}

// Started says which processes a running container is made of.
type Started struct {
	Container Process   `json:"container"`
	Shim      Process   `json:"shim"`
	At        time.Time `json:"at"`
}

// Exit says how a container ended.
type Exit struct {
	// Code is the exit code, 128 + the signal's number when a signal ended the process.
	Code      int       `json:"code"`
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	At        time.Time `json:"at"`
	// NotStarted says that the container's command could not be executed.
	NotStarted bool `json:"notStarted,omitempty"`
	// Problem is what went wrong besides the container's own doing.
	Problem string `json:"problem,omitempty"`
}

// WriteTask stores the shim's orders.
func (d Dir) WriteTask(t Task) error { return record.Write(d.task(), t) }

// ReadTask reads the shim's orders.
func (d Dir) ReadTask() (t Task, err error) { return t, record.Read(d.task(), &t) }

// ReadStarted reads which processes the container is; fs.ErrNotExist when it has not been started.
func (d Dir) ReadStarted() (s Started, err error) { return s, record.Read(d.started(), &s) }

// ReadExit reads how the container ended; fs.ErrNotExist when no end has been recorded.
func (d Dir) ReadExit() (e Exit, err error) { return e, record.Read(d.exit(), &e) }

// WriteExit records how the container ended.
func (d Dir) WriteExit(e Exit) error { return record.Write(d.exit(), e) }

// Process names one process of this machine over the reuse of process ids, and over the machine's own restarts.
type Process struct {
	PID int `json:"pid"`
	// StartTicks is when it started, in clock ticks since the machine did.
	StartTicks uint64 `json:"startTicks"`
	// Boot is the kernel's name for the time since the machine was started.
	Boot string `json:"boot,omitempty"`
}

// Alive says whether the process still runs; one that has ended but was not reaped does not.
func (p Process) Alive() bool {
	if p.Boot != "" && p.Boot != thisBoot() {
		return false
	}
	state, ticks, err := procStat(p.PID)
	return err == nil && ticks == p.StartTicks && state != 'Z' && state != 'X'
}

// processOf names the running process pid.
func processOf(pid int) (Process, error) {
	_, ticks, err := procStat(pid)
	return Process{PID: pid, StartTicks: ticks, Boot: thisBoot()}, err
}

var thisBoot = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // without it, times of the start have to do
	}
	return strings.TrimSpace(string(id))
})

func procStat(pid int) (state byte, startTicks uint64, err error) {
	if pid <= 0 {
		return 0, 0, os.ErrProcessDone
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The second field, in parentheses, may hold anything: count from its end. State is field 3, start time 22.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	startTicks, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], startTicks, err
}
