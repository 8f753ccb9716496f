package pki

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRemovedEnrolmentLeavesTheMastersFiles removes a node's enrolment, alone and beside a master's files.
func TestRemovedEnrolmentLeavesTheMastersFiles(t *testing.T) {
	for _, masters := range [][]string{nil, {"ca.key", "peer.crt", "peer.key"}} {
		dir := filepath.Join(t.TempDir(), "pki")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range append([]string{"ca.crt", "client.pem", "serving.pem", "serving.crt", "serving.key"}, masters...) {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, enrolmentFile), []byte(`{"name":"n1"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if name, ok, err := EnrolledName(dir); name != "n1" || !ok || err != nil {
			t.Fatalf("enrolled is %q, %v, %v", name, ok, err)
		}
		for range 2 { // twice is no error
			if err := RemoveEnrolment(dir); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := EnrolledName(dir); ok || err != nil {
			t.Errorf("there is an enrolment still: %v, %v", ok, err)
		}
		left, err := os.ReadDir(dir)
		if masters == nil {
			if !os.IsNotExist(err) {
				t.Errorf("the directory is still there: %v, %v", left, err)
			}
			continue
		}
		var names []string
		for _, entry := range left {
			names = append(names, entry.Name())
		}
		if want := append([]string{"ca.crt"}, masters...); !slices.Equal(names, want) {
			t.Errorf("left: %v, want %v", names, want)
		}
	}
}
