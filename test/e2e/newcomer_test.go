package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// TestFirstMistakesSayWhatToDo makes the mistakes of the first five minutes: each ends with an error that says what to do, and
// nothing is made on the machine.
func TestFirstMistakesSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	s := shell{t: t, path: binary, env: []string{"KUBECONFIG=", "HOME=" + dir, "CTLPLANE_DATA_DIR=" + filepath.Join(dir, "data")}}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	node := []string{"join", "127.0.0.1:1", "--token", "0123456789abcdef0123456789abcdef"}

	for _, command := range [][]string{node, {"init"}, {"dev", "--nodes", "0"}, {"demo"}} {
		for _, where := range []string{file, filepath.Join(file, "below")} {
			s.refuse("", []string{"data directory", file + " is not a directory", "--data-dir"}, append(command, "--data-dir", where)...)
		}
	}
	s.refuse("", []string{"--token-file", "no such file"}, "join", "127.0.0.1:1", "--token-file", filepath.Join(dir, "none"))
	s.refuse("", []string{"needs a token", "ctlplane token create"}, "join", "127.0.0.1:1")
	s.refuse("", []string{"is no node", "--data-dir"}, "leave")

	bare := s
	bare.env = append(bare.env, "PATH="+dir)
	for _, command := range [][]string{node, {"dev"}, {"demo"}} {
		bare.refuse("", []string{"needs nftables", "package nftables"}, command...)
	}

	for _, command := range [][]string{node, {"dev"}, {"demo"}, {"leave"}} {
		refuseNobody(t, []string{"root"}, command...)
	}
	refuseNobody(t, []string{"may not write to /", "--data-dir"}, "init", "--data-dir", "/no-such-directory")

	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the mistakes left %v, %v", entries, err)
	}
}

// refuseNobody runs a command that must fail for a user who is not root.
func refuseNobody(t *testing.T, words []string, args ...string) {
	t.Helper()
	program, err := os.Open(binary) // by its descriptor: a stranger may not get to its path
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	const nobody = 65534
	command := exec.Command("/proc/self/fd/3", args...)
	command.ExtraFiles = []*os.File{program}
	command.Dir = "/"
	command.Env = append(os.Environ(), "KUBECONFIG=", "HOME=/nonexistent")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := command.CombinedOutput()
	if err == nil {
		t.Errorf("%v succeeded as nobody", args)
	}
	contains(t, string(out), words...)
}

// TestClusterThatIsAway runs commands whose cluster is known and does not answer.
func TestClusterThatIsAway(t *testing.T) {
	c := start(t, 1, 0)
	access := c.Masters[0].Access
	access.Endpoints, access.Server = []string{"127.0.0.1:1"}, "https://127.0.0.1:1"
	config := filepath.Join(t.TempDir(), "config")
	if err := client.WriteKubeconfig(config, access); err != nil {
		t.Fatal(err)
	}
	away := ctlplane(t, config)
	for _, command := range []string{"status", "token list"} {
		away.refuse("", []string{"no master answers", "127.0.0.1:1", "see whether the masters run", "KUBECONFIG"}, strings.Fields(command)...)
	}
	away.refuse("", []string{"127.0.0.1:1"}, "get", "nodes")
	away.env = append(away.env, "ETCDCTL_COMMAND_TIMEOUT=1s")
	away.refuse("", []string{"127.0.0.1:1"}, "kv", "get", "a")
}
