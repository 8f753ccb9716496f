package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stopAfter ends a cluster that outlives its command when the test ends.
func stopAfter(t *testing.T, data string) {
	t.Cleanup(func() {
		if out, err := exec.Command(binary, "dev", "stop", "--data-dir", data).CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, out)
		}
	})
}

// TestDetachedCluster starts a cluster that outlives its command, and ends it.
func TestDetachedCluster(t *testing.T) {
	data := t.TempDir()
	s := shell{t: t, path: binary, env: []string{"KUBECONFIG=", "CTLPLANE_DATA_DIR=" + data}}
	stopAfter(t, data)
	contains(t, s.run("dev", "--nodes", "0", "--detach"), "the cluster is ready", "dev stop")
	contains(t, s.run("status"), "m1", "leader") // at once: it was ready
	s.run("create", "configmap", "kept")

	// Another one would take its place: it is refused, and changes nothing.
	for _, command := range [][]string{{"dev", "--detach"}, {"dev", "--nodes", "0"}, {"demo"}} {
		s.refuse("", []string{"a cluster runs on this machine already", "dev stop"}, command...)
	}
	s.run("get", "configmap", "kept")

	s.run("dev", "stop")
	if found := leftovers(t, data); len(found) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
	if _, err := os.Stat(filepath.Join(data, "dev")); !os.IsNotExist(err) {
		t.Errorf("the cluster's directory is still there: %v", err)
	}
	contains(t, s.run("dev", "stop"), "no cluster")
	s.refuse("", []string{"no cluster is known here"}, "status")
	s.refuse("", []string{"choose 1 to"}, "dev", "--masters", "0")
}

// TestStopEndsAClusterInAnotherTerminal stops a cluster that a command in the foreground runs. That command ends with success
// and the logs are gone, as after an interrupt.
func TestStopEndsAClusterInAnotherTerminal(t *testing.T) {
	data := t.TempDir()
	s := shell{t: t, path: binary, env: []string{"KUBECONFIG=", "CTLPLANE_DATA_DIR=" + data}}
	owner := exec.Command(binary, "dev", "--nodes", "0")
	owner.Env = append(os.Environ(), s.env...)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	if !said.Scan() || !strings.Contains(said.Text(), "ready") {
		t.Fatalf("dev says: %s", said.Text())
	}
	s.refuse("", []string{"a cluster runs on this machine already"}, "dev", "--nodes", "0")
	s.run("dev", "stop")
	if err := owner.Wait(); err != nil {
		t.Errorf("dev: %v", err)
	}
	if found := leftovers(t, data); len(found) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
	if _, err := os.Stat(filepath.Join(data, "dev")); !os.IsNotExist(err) {
		t.Errorf("the cluster's directory, with its logs, is still there: %v", err)
	}
}

// TestFailedClusterKeepsItsLogs kills a master of a cluster in the foreground: why it ended can be read.
func TestFailedClusterKeepsItsLogs(t *testing.T) {
	data := t.TempDir()
	owner := exec.Command(binary, "dev", "--nodes", "0", "--data-dir", data)
	var complaint strings.Builder
	owner.Stderr = &complaint
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if said := bufio.NewScanner(out); !said.Scan() || !strings.Contains(said.Text(), "ready") {
		t.Fatalf("dev says: %s", said.Text())
	}
	for pid := range processesWith(t, "--data-dir\x00"+filepath.Join(data, "dev", "m1")+"\x00") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := owner.Wait(); err == nil {
		t.Error("dev succeeded, though its master was killed")
	}
	log := filepath.Join(data, "dev", "logs", "m1.log")
	contains(t, complaint.String(), "m1 ended", log)
	if _, err := os.Stat(log); err != nil {
		t.Error(err)
	}
	if found := leftovers(t, data); len(found) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
}
