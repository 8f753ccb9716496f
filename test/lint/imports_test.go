// Package lint holds the project's rules that no ready-made linter knows.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ctlplane/ctlplane/"

// mayImport is the project's layering: each folder, and the folders whose packages its code may import
// beside its own. Test files are free.
var mayImport = map[string][]string{
	"api":        {},
	"kv":         {"api", "broken"},
	"raftstore":  {"api", "broken", "durable", "kv", "pki", "supervise"},
	"pki":        {"durable"},
	"durable":    {},
	"broken":     {},
	"logging":    {},
	"supervise":  {},
	"apiserver":  {"api", "broken", "raftstore", "kv", "supervise"},
	"client":     {"api", "durable", "supervise"},
	"scheduling": {"api"},
	"scheduler":  {"api", "client", "scheduling", "supervise"},
	"controller": {"api", "client", "scheduling", "supervise"},
	"agent":      {"api", "client", "durable", "scheduling", "logging", "supervise"},
	"bench":      {"api", "client"},
	"master":     {"api", "kv", "raftstore", "apiserver", "client", "scheduling", "scheduler", "controller", "pki", "logging", "supervise"},
	"migrate":    {"api", "kv", "raftstore", "apiserver", "client", "master"},
	"dev":        {"api", "client", "durable", "pki", "agent", "bench", "examples"},
	"examples":   {},
}

// unbound folders put the others together: they may import anything.
var unbound = []string{"cmd", "test"}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		folder, ok := folderOf(p.ImportPath)
		if !ok || slices.Contains(unbound, folder) {
			continue
		}
		allowed, known := mayImport[folder]
		if !known {
			t.Errorf("%s: folder %s is not in the layering: say here what it may import", p.ImportPath, folder)
			continue
		}
		for _, imported := range p.Imports {
			target, ours := folderOf(imported)
			if ours && target != folder && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s: %s may import %v only", p.ImportPath, imported, folder, allowed)
			}
		}
	}
}

// TestRoomsDoNotImportTheStore: what lies below raftstore serves it, and knows nothing of a Member.
func TestRoomsDoNotImportTheStore(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, module+"raftstore/") && slices.Contains(p.Imports, module+"raftstore") {
			t.Errorf("%s imports raftstore: let it take what it needs", p.ImportPath)
		}
	}
}

// TestNoCatchAllPackages keeps out the package names that say nothing.
func TestNoCatchAllPackages(t *testing.T) {
	for _, p := range packages(t) {
		name := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "misc"}, name) {
			t.Errorf("%s: put its parts with the concepts that they serve", p.ImportPath)
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"...")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for decoder := json.NewDecoder(out); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := command.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

// folderOf is the top-level folder of one of the module's packages.
func folderOf(path string) (string, bool) {
	inside, ours := strings.CutPrefix(path, module)
	folder, _, _ := strings.Cut(inside, "/")
	return folder, ours
}
