package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/ctlplane/ctlplane/agent/demo"
	"github.com/ctlplane/ctlplane/agent/embedded"
)

// say is what the test image's program does when it is not the demo server: the tests' workloads.
func say(args []string) int {
	switch args[0] {
	case "hello":
		fmt.Println("hello from", os.Getenv("HOSTNAME"))
		fmt.Fprintln(os.Stderr, "and good-bye")
		return 3
	case "lines":
		for i := range 5000 {
			fmt.Printf("line %04d %s\n", i, strings.Repeat("x", 40))
		}
	case "eat":
		var held [][]byte
		for {
			block := make([]byte, 4<<20)
			for i := 0; i < len(block); i += 4096 {
				block[i] = 1
			}
			held = append(held, block)
			_ = held
		}
	case "file":
		content, err := os.ReadFile(args[1])
		fmt.Print(string(content))
		if err != nil {
			fmt.Println(err)
			return 1
		}
	case "pid":
		fmt.Println(os.Getpid())
	}
	return 0
}

func run(t *testing.T, r *embedded.Runtime, config *runtimeapi.ContainerConfig) (sandbox, container string, logs string) {
	t.Helper()
	ctx := context.Background()
	pod := sandboxConfig(t)
	sandbox, err := r.RunPodSandbox(ctx, pod, "")
	if err != nil {
		t.Fatal(err)
	}
	container, err = r.CreateContainer(ctx, sandbox, config, pod)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(ctx, container); err != nil {
		t.Fatal(err)
	}
	return sandbox, container, filepath.Join(pod.LogDirectory, config.LogPath)
}

func waitExit(t *testing.T, r *embedded.Runtime, id string) *runtimeapi.ContainerStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events := make(chan *runtimeapi.ContainerEventResponse, 16)
	go r.GetContainerEvents(ctx, events, nil)
	for {
		got, err := r.ContainerStatus(ctx, id, false)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			return got.Status
		}
		select {
		case <-events:
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the container did not end")
		}
	}
}

func pid(t *testing.T, r *embedded.Runtime, id string) string {
	t.Helper()
	got, err := r.ContainerStatus(t.Context(), id, true)
	if err != nil {
		t.Fatal(err)
	}
	return got.Info["pid"]
}

func TestContainerRunsAndLogs(t *testing.T) {
	r := fresh(t)
	start := time.Now()
	_, id, log := run(t, r, containerConfig("say", "hello"))
	t.Log("started in", time.Since(start))
	status := waitExit(t, r, id)
	if status.ExitCode != 3 || status.Reason != "Error" || status.FinishedAt < status.StartedAt {
		t.Errorf("status %v", status)
	}
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" stdout F hello from web-1\n", " stderr F and good-bye\n"} {
		if !strings.Contains(string(content), want) {
			t.Errorf("log lacks %q: %s", want, content)
		}
	}
}

func TestDemoServesAndStops(t *testing.T) {
	r := fresh(t)
	_, id, _ := run(t, r, containerConfig(demo.Command))
	out, _, err := r.ExecSync(t.Context(), id, []string{demo.Program, "say", "file", "/etc/hostname"}, 10*time.Second)
	if err != nil || string(out) != "web-1\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
	_, _, err = r.ExecSync(t.Context(), id, []string{demo.Program, "say", "hello"}, 10*time.Second)
	if exit := (utilexec.CodeExitError{}); !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("exec's exit code: %v", err)
	}
	if err := r.StopContainer(t.Context(), id, 10); err != nil {
		t.Fatal(err)
	}
	if status := waitExit(t, r, id); status.ExitCode != 0 || status.Reason != "Completed" {
		t.Errorf("the demo server does not end well on SIGTERM: %v", status)
	}
}
