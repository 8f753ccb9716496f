package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	testclock "k8s.io/utils/clock/testing"
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
	case "self":
		fmt.Printf("pid=%d uid=%d gid=%d cwd=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), cwd())
		fmt.Println("write:", os.WriteFile("/written", nil, 0o600))
		fmt.Println("sysctl:", os.WriteFile("/proc/sys/kernel/hostname", []byte("x"), 0o600))
		_, err := os.ReadDir("/sys/firmware")
		fmt.Println("masked:", err)
	case "mount":
		if err := syscall.Mount("tmpfs", args[1], "tmpfs", 0, ""); err != nil {
			fmt.Println(err)
			return 1
		}
	case "exists":
		if _, err := os.Stat(args[1]); err != nil {
			return 1
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring")
		time.Sleep(time.Hour)
	}
	return 0
}

func cwd() string {
	dir, err := os.Getwd()
	if err != nil {
		return err.Error()
	}
	return dir
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

func TestContainerIsConfined(t *testing.T) {
	r := fresh(t)
	config := containerConfig("say", "self")
	config.WorkingDir = "/work/deep"
	config.Linux.SecurityContext = &runtimeapi.LinuxContainerSecurityContext{
		RunAsUser: &runtimeapi.Int64Value{Value: 1234}, RunAsGroup: &runtimeapi.Int64Value{Value: 55}, NoNewPrivs: true,
	}
	_, id, log := run(t, r, config)
	waitExit(t, r, id)
	text := read(t, log)
	for _, want := range []string{"pid=1 uid=1234 gid=55 cwd=/work/deep", "write: open /written: permission denied", "sysctl: open /proc/sys/kernel/hostname:"} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q:\n%s", want, text)
		}
	}
}

func TestReadonlyRoot(t *testing.T) {
	r := fresh(t)
	config := containerConfig("say", "self")
	config.Linux.SecurityContext = &runtimeapi.LinuxContainerSecurityContext{ReadonlyRootfs: true}
	_, id, log := run(t, r, config)
	waitExit(t, r, id)
	if text := read(t, log); !strings.Contains(text, "write: open /written: read-only file system") || !strings.Contains(text, "sysctl: open /proc/sys/kernel/hostname: read-only") {
		t.Error(text)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestMemoryLimitKills(t *testing.T) {
	r := fresh(t)
	config := containerConfig("say", "eat")
	config.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 48 << 20}
	_, id, _ := run(t, r, config)
	if status := waitExit(t, r, id); status.Reason != "OOMKilled" || status.ExitCode != 137 {
		t.Errorf("status %v", status)
	}
}

func TestLimitsReachTheCgroup(t *testing.T) {
	r := fresh(t)
	config := containerConfig("say", "sleep")
	config.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuQuota: 50_000, CpuPeriod: 100_000, CpuShares: 512}
	_, id, _ := run(t, r, config)
	cgroup := "/ctlplane-test/" + t.Name() + "/" + id
	for _, file := range []struct{ v1, v2, want string }{
		{"memory" + cgroup + "/memory.limit_in_bytes", cgroup + "/memory.max", "67108864"},
		{"cpu" + cgroup + "/cpu.cfs_quota_us", cgroup + "/cpu.max", "50000"},
		{"pids" + cgroup + "/pids.max", cgroup + "/pids.max", "4096"},
	} {
		content, err := os.ReadFile("/sys/fs/cgroup/" + file.v1)
		if err != nil {
			content, err = os.ReadFile("/sys/fs/cgroup/" + file.v2)
		}
		if err != nil || !strings.HasPrefix(string(content), file.want) {
			t.Errorf("%s: %q, %v", file.v1, content, err)
		}
	}
}

func TestLogsRotate(t *testing.T) {
	r := fresh(t)
	_, id, log := run(t, r, containerConfig("say", "lines"))
	waitExit(t, r, id)
	files, err := filepath.Glob(log + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v", files, err)
	}
	if text := read(t, log); !strings.Contains(text, "F line 4999 ") {
		t.Error("the last line is not in the newest file")
	}
	last := -1
	for _, name := range []string{log + ".2", log + ".1", log} {
		text := read(t, name)
		if len(text) > 64<<10 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			n, err := strconv.Atoi(strings.Fields(line)[4])
			if err != nil || last >= 0 && n != last+1 {
				t.Fatalf("%s: line %q after number %d", name, line, last)
			}
			last = n
		}
	}
}

func TestRestartOfTheRuntimeKeepsContainers(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	t.Cleanup(func() {
		if err := embedded.DestroyDir(context.Background(), dir, nil); err != nil {
			t.Error(err)
		}
	})
	_, id, _ := run(t, r, containerConfig("say", "sleep"))
	before := pid(t, r, id)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir)
	if after := pid(t, r, id); after != before {
		t.Errorf("process %s, was %s", after, before)
	}
	n, err := strconv.Atoi(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := waitExit(t, r, id); status.ExitCode != 137 || status.Reason != "Error" {
		t.Errorf("status %v", status)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The end is on record for whoever comes next.
	r = open(t, dir)
	if status := waitExit(t, r, id); status.ExitCode != 137 {
		t.Errorf("status of a later runtime: %v", status)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStubbornContainerIsKilled(t *testing.T) {
	r := fresh(t)
	_, id, log := run(t, r, containerConfig("say", "stubborn"))
	eventually(t, func() bool {
		content, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(content), "ignoring")
	})
	if err := r.StopContainer(t.Context(), id, 1); err != nil {
		t.Fatal(err)
	}
	if status := waitExit(t, r, id); status.ExitCode != 137 || status.Reason != "Error" {
		t.Errorf("status %v", status)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

func TestLostShimTakesItsContainerAlong(t *testing.T) {
	r := fresh(t)
	_, id, _ := run(t, r, containerConfig("say", "sleep"))
	process, err := strconv.Atoi(pid(t, r, id))
	if err != nil {
		t.Fatal(err)
	}
	stat := strings.Fields(read(t, fmt.Sprintf("/proc/%d/stat", process)))
	shim, err := strconv.Atoi(stat[3])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := waitExit(t, r, id); status.ExitCode != 137 || status.Message == "" {
		t.Errorf("status %v", status)
	}
	eventually(t, func() bool { return syscall.Kill(process, 0) == syscall.ESRCH })
}

// A shim that is stopped kept its container from being removed for ever, and with it the pod and the node.
func TestContainerOfAStoppedShimEnds(t *testing.T) {
	dir := t.TempDir()
	clock := testclock.NewFakeClock(time.Now())
	r, err := embedded.New(embedded.Config{Dir: dir, Network: loopback{}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Destroy(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	_, id, _ := run(t, r, containerConfig("say", "sleep"))
	stat := strings.Fields(read(t, fmt.Sprintf("/proc/%s/stat", pid(t, r, id))))
	shim, err := strconv.Atoi(stat[3])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.StopContainer(context.WithoutCancel(t.Context()), id, 0) }()
	eventually(t, clock.HasWaiters)
	clock.Step(time.Minute)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if status := waitExit(t, r, id); status.ExitCode != 137 {
		t.Errorf("status %v", status)
	}
}

func TestExecIsKilledAfterItsTime(t *testing.T) {
	r := fresh(t)
	_, id, _ := run(t, r, containerConfig("say", "sleep"))
	_, _, err := r.ExecSync(t.Context(), id, []string{demo.Program, "say", "stubborn"}, time.Second)
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	init := pid(t, r, id)
	eventually(t, func() bool { return processesIn(t, init) == 1 })
}

// processesIn counts the processes of the PID namespace of a process.
func processesIn(t *testing.T, pid string) int {
	t.Helper()
	own, err := os.Readlink("/proc/" + pid + "/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		if ns, err := os.Readlink(entry); err == nil && ns == own {
			count++
		}
	}
	return count
}

func TestMissingCommandIsAStartError(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	t.Cleanup(func() {
		if err := embedded.DestroyDir(context.Background(), dir, nil); err != nil {
			t.Error(err)
		}
	})
	pod := sandboxConfig(t)
	sandbox, err := r.RunPodSandbox(t.Context(), pod, "")
	if err != nil {
		t.Fatal(err)
	}
	config := containerConfig()
	config.Command = []string{"/no/such/program"}
	id, err := r.CreateContainer(t.Context(), sandbox, config, pod)
	if err != nil {
		t.Fatal(err)
	}
	err = r.StartContainer(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error %v", err)
	}
	for range 2 { // a later runtime knows it as well
		if status := waitExit(t, r, id); status.ExitCode != 128 || status.Reason != "StartError" || !strings.Contains(status.Message, "/no/such/program") {
			t.Errorf("status %v", status)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		r = open(t, dir)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDestroyDirOfARuntimeThatDied(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	_, id, _ := run(t, r, containerConfig("say", "sleep"))
	process := pid(t, r, id)
	if err := r.Close(t.Context()); err != nil { // all that is lost with a process is lost with this
		t.Fatal(err)
	}
	if err := embedded.DestroyDir(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + process); err == nil {
		t.Error("the container runs on")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is still there")
	}
	if mounts := read(t, "/proc/self/mounts"); strings.Contains(mounts, dir) {
		t.Error("something is still mounted")
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/ctlplane-test/" + t.Name()); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

// What is mounted in a volume shows in the container, and the other way round, as the mount says.
func TestMountPropagation(t *testing.T) {
	for mode, want := range map[runtimeapi.MountPropagation]struct{ in, out bool }{
		runtimeapi.MountPropagation_PROPAGATION_PRIVATE:           {false, false},
		runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER: {true, false},
		runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:     {true, true},
	} {
		t.Run(mode.String(), func(t *testing.T) { mountPropagation(t, mode, want.in, want.out) })
	}
}

func mountPropagation(t *testing.T, mode runtimeapi.MountPropagation, wantIn, wantOut bool) {
	r, volume := fresh(t), t.TempDir()
	for _, name := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(volume, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []struct {
		source string
		flags  uintptr
	}{{volume, syscall.MS_BIND}, {"", syscall.MS_SHARED}} {
		if err := syscall.Mount(m.source, volume, "", m.flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = syscall.Unmount(volume, syscall.MNT_DETACH) })
	config := containerConfig("say", "sleep")
	config.Linux.SecurityContext = &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"SYS_ADMIN"}}}
	config.Mounts = []*runtimeapi.Mount{{HostPath: volume, ContainerPath: "/volume", Propagation: mode}}
	_, id, _ := run(t, r, config)
	if err := syscall.Mount("tmpfs", volume+"/in", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(volume+"/in/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.ExecSync(t.Context(), id, []string{demo.Program, "say", "exists", "/volume/in/file"}, time.Minute)
	if in := err == nil; in != wantIn {
		t.Errorf("the volume's new mount shows in the container: %v", in)
	}
	if out, _, err := r.ExecSync(t.Context(), id, []string{demo.Program, "say", "mount", "/volume/out"}, time.Minute); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	if out := strings.Contains(read(t, "/proc/self/mounts"), " "+volume+"/out "); out != wantOut {
		t.Errorf("the container's mount shows in the volume: %v", out)
	}
}
