package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
)

// A runtime to which the kernel does not tell the end of a container sees it all the same.
func TestExitIsSeenThoughItCanNotBeWaitedFor(t *testing.T) {
	closing, stop := context.WithCancel(t.Context())
	r := &Runtime{
		cfg: Config{Clock: clock.RealClock{}}, log: slog.New(slog.DiscardHandler), closing: closing, stop: stop,
		listeners:    map[chan *runtimeapi.ContainerEventResponse]bool{},
		awaitProcess: func(context.Context, shim.Process) error { return errors.New("too many open files") },
	}
	command := exec.Command("sleep", "600")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	c := &container{id: "c", dir: shim.Dir(t.TempDir()), exited: make(chan struct{})}
	c.started.Shim = shim.Process{PID: command.Process.Pid, StartTicks: startTicks(t, command.Process.Pid)}
	if err := c.dir.WriteExit(shim.Exit{Code: 7, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	r.watch(c)
	if !c.started.Shim.Alive() {
		t.Fatal("the test's own process is not seen")
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.exited:
	case <-time.After(60 * time.Second):
		t.Fatal("the end was not seen")
	}
	if c.exit.Code != 7 {
		t.Errorf("exit %+v", c.exit)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// startTicks is when a process was started, as the kernel counts.
func startTicks(t *testing.T, pid int) uint64 {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}
