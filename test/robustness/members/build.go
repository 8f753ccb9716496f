package members

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// As make build has it, so that what is compiled already is compiled once.
var buildFlags = []string{"build", "-trimpath"}

const buildTags = "netgo,osusergo"

// Build builds the binary of ctlplane into dir, with build tags.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	return build(ctx, dir, "-tags", strings.Join(append([]string{buildTags}, tags...), ","))
}

// BuildWithClock builds a binary whose wall clock can be made to jump.
func BuildWithClock(ctx context.Context, dir string) (string, error) {
	overlay, err := clockOverlay(dir)
	if err != nil {
		return "", err
	}
	return build(ctx, dir, "-tags", buildTags, "-overlay", overlay)
}

func build(ctx context.Context, dir string, flags ...string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's directory: %w", err)
	}
	binary := filepath.Join(dir, "ctlplane")
	command := exec.CommandContext(ctx, "go", slices.Concat(buildFlags, flags, []string{"-o", binary, "./cmd/ctlplane"})...)
	command.Dir = strings.TrimSpace(string(root))
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ctlplane: %w\n%s", err, out)
	}
	return binary, nil
}
