package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// script is a system whose members run a shell script.
func script(text string) System {
	return System{Name: "script", Binary: "/bin/sh", args: func(m member, _ []member) []string {
		return []string{"-c", text, m.name, m.dir}
	}}
}

func start(t *testing.T, s System, members int) *Cluster {
	t.Helper()
	c, err := Start(s, filepath.Join(t.TempDir(), "cluster"), members)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestMembersAreStoppedAndRemoved(t *testing.T) {
	c := start(t, script("exec sleep 600"), 3)
	if len(c.Endpoints()) != 3 {
		t.Errorf("endpoints %v", c.Endpoints())
	}
	var pids []int
	for _, p := range c.running {
		pids = append(pids, p.command.Process.Pid)
	}
	c.Close()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its data is still there: %v", err)
	}
}

func TestMemberIsKilledAndStartedAgainWithItsData(t *testing.T) {
	// Each run of a member adds a line to a file of its own, and does not mind SIGTERM before SIGKILL comes.
	c := start(t, script(`trap "" TERM; echo run >> "$1/runs"; echo started; while :; do sleep 600; done`), 2)
	first := c.running[0].command.Process.Pid
	if err := c.Start(0); err == nil {
		t.Error("a member that runs was started")
	}
	if err := c.Kill(0); err != nil || alive(first) {
		t.Errorf("%v; alive: %v", err, alive(first))
	}
	if err := c.Kill(0); err == nil {
		t.Error("a dead member was killed")
	}
	if _, err := c.ResidentBytes(0); err == nil {
		t.Error("a dead member has memory")
	}
	if err := c.Stop(0); err != nil {
		t.Errorf("stopping a member that is stopped: %v", err)
	}
	if err := c.Start(0); err != nil {
		t.Fatal(err)
	}
	if memory, err := c.ResidentBytes(0); err != nil || memory <= 0 {
		t.Errorf("memory %d: %v", memory, err)
	}
	for i := range 2 {
		if err := c.Kill(i); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskCountsEachFileOnce(t *testing.T) {
	c := start(t, script("exec sleep 600"), 1)
	dir := c.members[0].dir
	if err := os.WriteFile(filepath.Join(dir, "data"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "data"), filepath.Join(dir, "checkpoint")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.DiskBytes(0); err != nil || got < 1<<20 || got >= 2<<20 {
		t.Errorf("%d bytes: %v", got, err)
	}
}

func TestLogsAreTheLastLines(t *testing.T) {
	c := start(t, script("for i in 1 2 3 4 5 6 7; do echo line $i of $0; done"), 1)
	<-c.running[0].ended
	if got := c.Logs(); strings.Contains(got, "line 2") || !strings.Contains(got, "line 7 of m1") {
		t.Errorf("%s", got)
	}
}

func TestBinaryThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	if _, err := Start(Etcd(filepath.Join(dir, "nothing")), dir, 1); err == nil {
		t.Error("it was started")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	m := member{"m1", "/d/m1", "127.0.0.1:1", "127.0.0.1:2"}
	for _, s := range []System{Etcd("e", "--quota-backend-bytes=1"), Ctlplane("c", "--quota-backend-bytes=1")} {
		line := strings.Join(s.args(m, []member{m, {"m2", "/d/m2", "127.0.0.1:3", "127.0.0.1:4"}}), " ")
		for _, want := range []string{"--name m1", "--data-dir /d/m1/data", "--initial-cluster m1=http://127.0.0.1:2,m2=http://127.0.0.1:4", "--quota-backend-bytes=1"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %q in %q", s.Name, want, line)
			}
		}
	}
}
