package archive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func writeFiles(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readArchive(t testing.TB, dir string) []byte {
	t.Helper()
	r, err := NewReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(content)) != r.Size() {
		t.Errorf("the archive has %d bytes, announced were %d", len(content), r.Size())
	}
	return content
}

var testTree = map[string]string{"a": "one", "empty": "", "sub/b": string(bytes.Repeat([]byte("x"), 100_000))}

func TestArchiveRoundTrip(t *testing.T) {
	archive := readArchive(t, writeFiles(t, testTree))
	out := filepath.Join(t.TempDir(), "out")
	rest := bytes.NewReader(append(archive, "what follows"...))
	if err := Unpack(rest, out); err != nil {
		t.Fatal(err)
	}
	if rest.Len() != len("what follows") {
		t.Error("unpacking read past the archive's end")
	}
	for name, want := range testTree {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestDamagedArchiveIsRefused(t *testing.T) {
	archive := readArchive(t, writeFiles(t, testTree))
	for _, at := range []int{0, 9, 20, len(archive) / 2, len(archive) - 1} {
		damaged := bytes.Clone(archive)
		damaged[at] ^= 0x40
		if err := Unpack(bytes.NewReader(damaged), filepath.Join(t.TempDir(), "out")); err == nil {
			t.Errorf("damage at byte %d goes unnoticed", at)
		}
		if err := Unpack(bytes.NewReader(archive[:at]), filepath.Join(t.TempDir(), "out")); err == nil {
			t.Errorf("an archive cut at byte %d is taken", at)
		}
	}
}

func FuzzUnpackArchive(f *testing.F) {
	f.Add(readArchive(f, writeFiles(f, map[string]string{"a": "one", "sub/b": "two"})))
	f.Add([]byte(archiveMagic + "\x00\x00\x00\x2a" + `{"files":[{"name":"../evil","size":0}]}`))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		_ = Unpack(bytes.NewReader(archive), filepath.Join(dir, "out"))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 {
			t.Errorf("files beside the directory: %v, %v", entries, err)
		}
	})
}
