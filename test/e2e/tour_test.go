package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tour is the block of commands in the README's tour.
func tour(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## A tour")
	_, block, _ := strings.Cut(section, "```\n")
	block, _, closed := strings.Cut(block, "```")
	if !closed || !strings.Contains(block, "ctlplane dev") {
		t.Fatal("the README has no tour of commands any more")
	}
	return block
}

// TestReadmeTour pastes the README's tour into a shell, as a newcomer does: line after line, each as soon as the one before has
// ended. Every line must end by itself and succeed, and the last one leaves nothing behind.
func TestReadmeTour(t *testing.T) {
	data := t.TempDir()
	stopAfter(t, data)
	block := tour(t)
	shell := exec.CommandContext(t.Context(), "bash", "--norc")
	shell.Dir = "../.."
	shell.Env = append(os.Environ(), "CTLPLANE_DATA_DIR="+data, "HOME="+t.TempDir(), "KUBECONFIG=",
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	shell.Stdin = strings.NewReader("trap 'echo \"this line failed: $BASH_COMMAND\"' ERR\n" + block)
	out, err := shell.CombinedOutput()
	account := string(out)
	t.Log(account)
	if err != nil {
		t.Errorf("the tour's last line: %v", err)
	}
	for line := range strings.Lines(account) {
		if strings.HasPrefix(line, "this line failed: ") {
			t.Error(line)
		}
	}
	contains(t, account, "the cluster is ready", "leader", "deployment.apps/web created", "successfully rolled out",
		"deployment.apps/web scaled", "greeting\nhello")
	if unsetTime.MatchString(account) {
		t.Error("a date of the year 1 is shown")
	}
	if found := leftovers(t, data); len(found) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
	if _, err := os.Stat(filepath.Join(data, "dev")); !os.IsNotExist(err) {
		t.Errorf("the cluster's directory is still there: %v", err)
	}
}

// goEnv is a setting of the go command, for a shell with another home.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
