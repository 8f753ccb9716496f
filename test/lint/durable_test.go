package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makesNames are the functions that make or change names, which are gone after a power loss unless the directory is synced.
var makesNames = []string{"Mkdir", "MkdirAll", "Rename"}

// syncsItself are the files that use them and sync what they have made, and how.
var syncsItself = map[string]string{
	"raftstore/wal/log.go":         "through a sync that its tests make fail",
	"raftstore/wal/segment.go":     "through a sync that its tests make fail",
	"raftstore/archive/archive.go": "the whole tree once it is unpacked",
}

// TestNamesSurviveAPowerLoss: what a data directory is made of is made by package durable.
func TestNamesSurviveAPowerLoss(t *testing.T) {
	const root = "../.."
	used := map[string]bool{}
	for _, folder := range []string{"raftstore", "kv", "pki", "master"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, _ := filepath.Rel(root, path)
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				selector, ok := node.(*ast.SelectorExpr)
				if !ok || !slices.Contains(makesNames, selector.Sel.Name) {
					return true
				}
				if of, ok := selector.X.(*ast.Ident); !ok || of.Name != "os" {
					return true
				}
				used[name] = true
				if syncsItself[name] == "" {
					t.Errorf("%s: os.%s: use durable.MakeDir or durable.Rename, which sync the directory", files.Position(node.Pos()), selector.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range syncsItself {
		if !used[name] {
			t.Errorf("%s is excepted and needs no exception", name)
		}
	}
}
