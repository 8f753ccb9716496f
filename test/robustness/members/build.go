package members

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the binary of ctlplane into dir, with build tags.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's directory: %w", err)
	}
	binary := filepath.Join(dir, strings.Join(append([]string{"ctlplane"}, tags...), "-"))
	command := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", binary, "./cmd/ctlplane")
	command.Dir = strings.TrimSpace(string(root))
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ctlplane: %w\n%s", err, out)
	}
	return binary, nil
}
