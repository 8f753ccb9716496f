package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ctlplane/ctlplane/agent"
	"github.com/ctlplane/ctlplane/dev"
)

// foreignSegments are the names of the bridges that were on the machine before the tests began: of a cluster that somebody
// runs, or that was killed and never cleaned.
var foreignSegments = sync.OnceValue(func() (names []string) {
	bridges, err := filepath.Glob("/sys/class/net/ctldev*/bridge")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, bridge := range bridges {
		names = append(names, filepath.Base(filepath.Dir(bridge)))
	}
	return names
})

// ofSegment tells whether a line is about a segment of the tests' own clusters.
func ofSegment(line string) bool {
	return strings.Contains(line, "ctldev") &&
		!slices.ContainsFunc(foreignSegments(), func(name string) bool {
			return regexp.MustCompile(`\b` + name + `(\b|n\d)`).MatchString(line)
		})
}

// leftovers lists what a cluster with its data below data has on the machine: nothing, once it has ended.
// The directories of other tests' clusters may be there at the same time.
func leftovers(t *testing.T, data string) []string {
	t.Helper()
	output := func(command ...string) string {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		return string(out)
	}
	var found []string
	note := func(what, text string, ours func(line string) bool) {
		for line := range strings.Lines(text) {
			if ours(line) {
				found = append(found, what+": "+strings.TrimSpace(line))
			}
		}
	}
	note("interface", output("ip", "-o", "link"), ofSegment)
	note("network namespace", output("ip", "netns"), ofSegment)
	note("route", output("ip", "route"), ofSegment)
	note("rule", output("nft", "list", "tables"), func(line string) bool { return strings.Contains(line, "ctlplane") })
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	note("mount", string(mounts), func(line string) bool { return strings.Contains(line, data) })
	for _, node := range []string{"n1", "n2"} {
		root := agent.CgroupRoot(filepath.Join(data, "dev", node, "agent"))
		note("cgroup", output("find", "/sys/fs/cgroup", "-type", "d", "-name", root), func(string) bool { return true })
	}
	for pid, command := range processesWith(t, data) {
		found = append(found, fmt.Sprintf("process: %d %s", pid, command))
	}
	return found
}

// processesWith are the processes whose command lines hold the words, and those lines.
func processesWith(t *testing.T, words string) map[int]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if command, err := os.ReadFile(path); err == nil && strings.Contains(string(command), words) {
			found[pid] = strings.ReplaceAll(string(command), "\x00", " ")
		}
	}
	return found
}

// TestDemoLeavesNothingBehind runs what `make demo` runs, twice.
func TestDemoLeavesNothingBehind(t *testing.T) {
	data := t.TempDir()
	for range 2 {
		demo := shell{t: t, path: binary}
		account := demo.run("demo", "--data-dir", data)
		t.Log(account)
		contains(t, account, "deployment's 3 replicas run", "all 3 replicas answered", "the next write was acknowledged",
			"all replicas ran elsewhere", "scaled to six", "durable replicated writes a second")
		if found := leftovers(t, data); len(found) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
		}
		if _, err := os.Stat(filepath.Join(data, "dev")); !os.IsNotExist(err) {
			t.Errorf("the cluster's directory, with its logs, is still there: %v", err)
		}
	}
}

// TestInterruptedDemoLeavesNothingBehind interrupts the demo at several stages.
func TestInterruptedDemoLeavesNothingBehind(t *testing.T) {
	data := t.TempDir()
	for _, stage := range []string{"starting 2 nodes", "nodes are ready", "all 3 replicas answered"} {
		demo := exec.Command(binary, "demo", "--data-dir", data)
		out, err := demo.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		demo.Stderr = demo.Stdout // the stages of the start are told there
		if err := demo.Start(); err != nil {
			t.Fatal(err)
		}
		account := bufio.NewScanner(out)
		for account.Scan() && !strings.Contains(account.Text(), stage) {
		}
		if err := demo.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		for account.Scan() { // until it has ended
		}
		if err := demo.Wait(); err == nil {
			t.Errorf("interrupted at %q the demo exits with success", stage)
		}
		if found := leftovers(t, data); len(found) > 0 {
			t.Errorf("interrupted at %q, left behind:\n%s", stage, strings.Join(found, "\n"))
		}
	}
}

// TestCleanTakesAKilledClusterAway kills the owner of a cluster and everything in it with -9.
func TestCleanTakesAKilledClusterAway(t *testing.T) {
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
	if len(leftovers(t, data)) == 0 {
		t.Fatal("nothing of the running cluster was found: this test would see no leftover either")
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if _, err := dev.Clean(data + "/dev"); err != nil {
		t.Error(err)
	}
	if found := leftovers(t, data); len(found) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
}
