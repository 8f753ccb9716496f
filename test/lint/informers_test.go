package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// informerMaker is how client-go makes an informer that package immutable does not see.
var informerMaker = regexp.MustCompile(`\bcache\.New\w*Informer\w*\(|\bNewSharedInformerFactory`)

// TestInformersAreMadeByClient: what they hold is looked at in tests, because client.NewInformer and client.Informers see to it.
func TestInformersAreMadeByClient(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if made := informerMaker.Find(content); made != nil {
			found++
			if path != filepath.Join("../..", "client", "informer.go") {
				t.Errorf("%s has %s…: make the informer with client.NewInformer or client.Informers", path, made)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("package client makes no informer: what does this test look for?")
	}
}
