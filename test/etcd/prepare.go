package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is etcd's module of tests, of the release whose place ctlplane takes.
const module = "go.etcd.io/etcd/tests/v3@v3.7.3"

// packages are those of its packages that run against binaries.
var packages = []string{"common", "e2e"}

// suite is etcd's tests, ready to run.
type suite struct {
	options
	sources, bin, logs string
}

// prepare copies etcd's tests and builds them, and the binaries that they run.
func prepare(ctx context.Context, o options) (*suite, error) {
	scratch, err := filepath.Abs(o.scratch)
	if err != nil {
		return nil, err
	}
	s := &suite{
		options: o, sources: filepath.Join(scratch, "tests"), bin: filepath.Join(scratch, "bin"), logs: filepath.Join(scratch, "logs"),
	}
	for _, dir := range []string{s.sources, s.logs} {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{s.bin, s.logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context) error{s.copySources, s.editModule, s.build, s.writeScript} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *suite) copySources(ctx context.Context) error {
	out, err := command(ctx, os.TempDir(), "go", "mod", "download", "-json", module)
	var downloaded struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &downloaded); jsonErr == nil && downloaded.Error != "" {
		err = errors.New(downloaded.Error)
	}
	if err != nil {
		return err
	}
	return os.CopyFS(s.sources, os.DirFS(downloaded.Dir))
}

// editModule makes the module one that stands alone: its replacements are folders of etcd's repository, and one of
// what it requires, which neither package needs, was never released.
func (s *suite) editModule(ctx context.Context) error {
	out, err := command(ctx, s.sources, "go", "mod", "edit", "-json")
	if err != nil {
		return err
	}
	var mod struct {
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return err
	}
	edit := []string{"mod", "edit", "-toolchain=none", "-droprequire=go.etcd.io/etcd/cache/v3"}
	for _, r := range mod.Replace {
		edit = append(edit, "-dropreplace="+r.Old.Path)
	}
	_, err = command(ctx, s.sources, "go", edit...)
	return err
}

func (s *suite) build(ctx context.Context) error {
	// -mod=mod adds the checksums of etcd's modules, which were replaced.
	if _, err := command(ctx, s.sources, "go", "build", "-mod=mod", "-o", s.bin+"/",
		"go.etcd.io/etcd/etcdctl/v3", "go.etcd.io/etcd/etcdutl/v3"); err != nil {
		return err
	}
	for _, p := range packages {
		if _, err := command(ctx, s.sources, "go", "test", "-mod=mod", "-vet=off", "-tags", "e2e", "-c", "-o", s.testBinary(p), "./"+p); err != nil {
			return err
		}
	}
	return nil
}

// writeScript makes the binary that the tests know as etcd.
func (s *suite) writeScript(context.Context) error {
	binary, subcommand := s.ctlplane, "etcd "
	if s.etcd != "" {
		binary, subcommand = s.etcd, ""
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' %s\"$@\"\n", binary, subcommand)
	return os.WriteFile(filepath.Join(s.bin, "etcd"), []byte(script), 0o755)
}

func (s *suite) testBinary(pkg string) string { return filepath.Join(s.bin, pkg+".test") }

// tests returns the names of a package's tests.
func (s *suite) tests(ctx context.Context, pkg string) ([]string, error) {
	out, err := command(ctx, filepath.Join(s.sources, pkg), s.testBinary(pkg), "-test.list", "^Test")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "Test") {
			names = append(names, name)
		}
	}
	return names, nil
}

// command runs a command and returns its standard output, which an error comes with too.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	c.Dir, c.Stderr = dir, &stderr
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", c, err, stderr.String())
	}
	return out, err
}
