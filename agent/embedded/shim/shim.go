// Package shim is the small process that stands between the node agent and one container: it creates
// the container, carries its output to the log file, reaps it and records how it ended. It outlives the
// agent, so that an agent can stop, be replaced and start again while the container runs on.
//
// A shim is the program's own binary, executed again under the name Name. Linking this package in is all
// that it takes: the package's init function takes such a process over before most other packages of
// the program have been initialised, which keeps a shim's memory near that of a program which has
// nothing else in it. The container's first process, which counts against the container's own memory
// limit until it executes the image's command, gains from the same.
package shim

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	_ "github.com/opencontainers/cgroups/devices" // lets cgroup managers set device rules
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before Go's runtime has threads
)

// Name is the argv[0] by which a process knows that it is to be a shim.
const Name = "ctlplane-shim"

// statusFD is the descriptor on which a shim tells its starter that the container runs, or why not.
const statusFD = 3

func init() {
	if len(os.Args) < 2 || os.Args[0] != Name {
		return
	}
	switch os.Args[1] {
	case "init": // libcontainer executes its caller's binary with this argument inside the new container
		libcontainer.Init()
	case "run":
		os.Exit(exitCode(run(argument())))
	case "exec":
		os.Exit(executeIn(argument()))
	}
	fmt.Fprintf(os.Stderr, "%s: unknown task %q\n", Name, os.Args[1])
	os.Exit(2)
}

func argument() Dir {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s run|exec DIRECTORY\n", Name)
		os.Exit(2)
	}
	return Dir(os.Args[2])
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Command makes the command that runs a task of the shim on a container's directory.
func Command(task string, dir Dir) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", task, string(dir))
	cmd.Args[0] = Name
	// One collection a fifth of growth and two threads: a shim moves lines of text and is there once a container.
	cmd.Env = []string{"GOGC=20", "GOMAXPROCS=2"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}
