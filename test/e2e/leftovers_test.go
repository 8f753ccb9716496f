package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/dev"
)

// machine is what a cluster could leave behind on it.
type machine map[string][]string

// look takes stock of the machine.
func look(t *testing.T) machine {
	t.Helper()
	m := machine{}
	for what, command := range map[string][]string{
		"interface":         {"ip", "-o", "link"},
		"network namespace": {"ip", "netns"},
		"route":             {"ip", "route"},
		"rule":              {"nft", "list", "ruleset"},
	} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		m[what] = lines(string(out))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	m["mount"] = lines(string(mounts))
	cgroups, err := exec.Command("find", "/sys/fs/cgroup", "-type", "d", "-path", "*ctlplane*").Output()
	if err != nil {
		t.Fatal(err)
	}
	m["cgroup"] = lines(string(cgroups))
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		command, err := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		if err == nil && bytes.Contains(command, []byte(binary)) {
			m["process"] = append(m["process"], p.Name()+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return m
}

func lines(text string) []string {
	return strings.Split(strings.TrimSpace(text), "\n")
}

// since fails the test for all that is there now and was not before.
func (before machine) since(t *testing.T) {
	t.Helper()
	for what, now := range look(t) {
		for _, line := range now {
			if !slices.Contains(before[what], line) {
				t.Errorf("%s left behind: %s", what, line)
			}
		}
	}
}

// TestDemoLeavesNothingBehind runs what `make demo` runs, twice.
func TestDemoLeavesNothingBehind(t *testing.T) {
	before := look(t)
	for range 2 {
		demo := shell{t: t, path: binary}
		account := demo.run("demo", "--data-dir", t.TempDir())
		t.Log(account)
		contains(t, account, "deployment's 3 replicas run", "all 3 replicas answered", "the next write was acknowledged",
			"all replicas ran elsewhere", "scaled to six", "durable replicated writes a second")
		before.since(t)
	}
}

// TestCleanTakesAKilledClusterAway kills the owner of a cluster and everything in it with -9.
func TestCleanTakesAKilledClusterAway(t *testing.T) {
	before := look(t)
	data := t.TempDir()
	owner := exec.Command(binary, "dev", "--data-dir", data)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // the line that says it is ready
		t.Fatal(err)
	}
	apply := shell{t: t, path: binary}
	apply.run("--data-dir", data, "create", "deployment", "web", "--image", "ctlplane.local/demo")
	eventually(t, "a container to run", func() bool {
		out, err := apply.try("", "--data-dir", data, "get", "pods", "--no-headers")
		return err == nil && strings.Contains(out, "Running")
	})
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if err := dev.Clean(data + "/dev"); err != nil {
		t.Error(err)
	}
	before.since(t)
}
