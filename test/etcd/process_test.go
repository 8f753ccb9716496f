package main

import (
	"bufio"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEndOrphans: what a child has left behind in a session of its own is ended.
func TestEndOrphans(t *testing.T) {
	if err := becomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("setsid", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bufio.NewReader(strings.NewReader(string(out))).ReadLine()
	pid, err := strconv.Atoi(string(line))
	if err != nil {
		t.Fatal(err)
	}
	left, err := orphans()
	if err != nil || !slices.Contains(left, pid) {
		t.Fatalf("process %d is not among what was left behind: %v, %v", pid, left, err)
	}
	if err := endOrphans(); err != nil {
		t.Fatal(err)
	}
	if left, err := orphans(); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWithoutEtcd(t *testing.T) {
	got := withoutEtcd([]string{"PATH=/bin", "ETCD_NAME=a", "ETCDCTL_API=3"})
	if !slices.Equal(got, []string{"PATH=/bin"}) {
		t.Error(got)
	}
}
