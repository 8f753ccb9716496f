package lint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedCodeIsFresh generates anew what api/generate.go says and compares.
func TestGeneratedCodeIsFresh(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	generate := exec.Command(filepath.Join(root, "hack/generate-protobuf"), out)
	generate.Dir = root
	if text, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("generating: %v\n%s", err, text)
	}
	fresh, err := filepath.Glob(filepath.Join(out, "api/*/*.pb*.go"))
	if err != nil || len(fresh) == 0 {
		t.Fatalf("nothing was generated (%v)", err)
	}
	for _, file := range fresh {
		name := strings.TrimPrefix(file, out+"/")
		if committed, err := os.ReadFile(filepath.Join(root, name)); err != nil {
			t.Errorf("%s is generated but not there: run make generate", name)
		} else if want, err := os.ReadFile(file); err != nil || !bytes.Equal(committed, want) {
			t.Errorf("%s is stale: run make generate", name)
		}
	}
}
