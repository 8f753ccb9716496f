package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// entry is one entry of a test archive; a file unless it says otherwise.
type entry struct {
	name, content, link string
	kind                byte
	mode                int64
	major, minor        int64
	pax                 map[string]string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.content)), Devmajor: e.major, Devminor: e.minor, PAXRecords: e.pax}
		if e.kind == 0 {
			header.Typeflag = tar.TypeReg
		}
		if e.mode == 0 {
			header.Mode = 0o755
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	err := unpack(bytes.NewReader(archive(t,
		entry{name: "bin/", kind: tar.TypeDir},
		entry{name: "bin/tool", content: "first"},
		entry{name: "./bin/tool", content: "second", mode: 0o4755},
		entry{name: "/etc/conf", content: "x", mode: 0o600},
		entry{name: "bin/alias", link: "bin/tool", kind: tar.TypeLink},
		entry{name: "lib", link: "/usr/lib", kind: tar.TypeSymlink},
		entry{name: "dev/null", kind: tar.TypeChar, major: 1, minor: 3},
		entry{name: "pipe", kind: tar.TypeFifo},
		entry{name: "gone/.wh.file"},
		entry{name: "opaque/.wh..wh..opq"},
		entry{name: "kept/.wh.file"},
		entry{name: "kept/file", content: "new"},
		entry{name: "aufs/.wh..wh.plnk", kind: tar.TypeDir},
		entry{name: "dropped", content: "x", pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}},
	)), dir, defaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "bin/alias")); err != nil || string(content) != "second" {
		t.Errorf("hard link: %q, %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bin/tool")); err != nil || info.Mode() != 0o755|fs.ModeSetuid {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "lib")); err != nil || target != "/usr/lib" {
		t.Errorf("symbolic link: %q, %v", target, err)
	}
	if !isWhiteout(t, filepath.Join(dir, "gone/file")) {
		t.Error("the whiteout is no 0:0 device")
	}
	if !opaque(filepath.Join(dir, "opaque")) {
		t.Error("the directory is not opaque")
	}
	if content, err := os.ReadFile(filepath.Join(dir, "kept/file")); err != nil || string(content) != "new" {
		t.Errorf("a file that replaces a whiteout: %q, %v", content, err)
	}
	if n, err := unix.Lgetxattr(filepath.Join(dir, "dropped"), "trusted.overlay.redirect", nil); err == nil {
		t.Errorf("an archive could set overlayfs' attributes: %d bytes", n)
	}
}

func isWhiteout(t *testing.T, path string) bool {
	t.Helper()
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeCharDevice != 0 && info.Sys().(*syscall.Stat_t).Rdev == 0
}

func TestUnpackStaysInside(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, entries := range map[string][]entry{
		"parent":                  {{name: "../evil", content: "x"}},
		"deep parent":             {{name: "a/../../../evil", content: "x"}},
		"whiteout of parent":      {{name: "a/.wh..."}, {name: ".wh..."}},
		"whiteout of nothing":     {{name: "a/.wh."}},
		"hard link out":           {{name: "x", link: "../../secret", kind: tar.TypeLink}},
		"absolute hard link":      {{name: "x", link: secret, kind: tar.TypeLink}},
		"file through link":       {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "d/secret", content: "overwritten"}},
		"file through dot link":   {{name: "d", link: "../../../../../../../../" + outside, kind: tar.TypeSymlink}, {name: "d/secret", content: "overwritten"}},
		"directory through link":  {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "d/new", kind: tar.TypeDir}},
		"hard link through link":  {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "x", link: "d/secret", kind: tar.TypeLink}},
		"device through link":     {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "d/null", kind: tar.TypeChar, major: 1, minor: 3}},
		"whiteout through link":   {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "d/.wh.secret"}},
		"opaque through link":     {{name: "d", link: outside, kind: tar.TypeSymlink}, {name: "d/.wh..wh..opq"}},
		"device that is whiteout": {{name: "x", kind: tar.TypeChar}},
		"unknown type":            {{name: "x", kind: 'Z'}},
	} {
		t.Run(name, func(t *testing.T) {
			err := unpack(bytes.NewReader(archive(t, entries...)), t.TempDir(), defaultLimits)
			if err == nil {
				t.Error("it was accepted")
			}
			if content, err := os.ReadFile(secret); err != nil || string(content) != "untouched" {
				t.Errorf("the file outside: %q, %v", content, err)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
				t.Errorf("outside: %v, %v", entries, err)
			}
			if n, err := unix.Lgetxattr(outside, opaqueXattr, nil); err == nil {
				t.Errorf("an attribute outside: %d bytes", n)
			}
		})
	}
}

func TestUnpackIsBounded(t *testing.T) {
	many := archive(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"})
	if err := unpack(bytes.NewReader(many), t.TempDir(), limits{entries: 2, bytes: 100}); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("too many entries: %v", err)
	}
	large := archive(t, entry{name: "a", content: "0123456789"}, entry{name: "b", content: "0123456789"})
	if err := unpack(bytes.NewReader(large), t.TempDir(), limits{entries: 10, bytes: 15}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("too large: %v", err)
	}
	if err := unpack(bytes.NewReader(many[:700]), t.TempDir(), defaultLimits); err == nil {
		t.Error("half an archive was accepted")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{name: "a/b", content: "x"}, entry{name: "l", link: "/", kind: tar.TypeSymlink}, entry{name: "l/x", content: "y"}))
	f.Add(archive(f, entry{name: "d", link: "..", kind: tar.TypeSymlink}, entry{name: "d/.wh.x"}, entry{name: "h", link: "d/x", kind: tar.TypeLink}))
	f.Add(archive(f, entry{name: "../x", content: "y"}, entry{name: ".wh..wh..opq"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		canary := filepath.Join(parent, "canary")
		if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(parent, "layer")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = unpack(bytes.NewReader(data), dir, limits{entries: 100, bytes: 1 << 20})
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 2 {
			t.Fatalf("beside the layer: %v, %v", entries, err)
		}
		if content, err := os.ReadFile(canary); err != nil || string(content) != "alive" {
			t.Fatalf("canary: %q, %v", content, err)
		}
		if info, err := os.Stat(canary); err != nil || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Nlink != 1 {
			t.Fatalf("canary: %v, %v", info, err)
		}
	})
}

func TestFlattenShowsWhatOverlayfsShows(t *testing.T) {
	base, top := t.TempDir(), t.TempDir()
	if err := unpack(bytes.NewReader(archive(t,
		entry{name: "a/one", content: "1"}, entry{name: "a/two", content: "2"}, entry{name: "b/three", content: "3"}, entry{name: "c", content: "file"},
		entry{name: "l", link: "a/one", kind: tar.TypeLink},
	)), base, defaultLimits); err != nil {
		t.Fatal(err)
	}
	if err := unpack(bytes.NewReader(archive(t,
		entry{name: "a/.wh.one"}, entry{name: "b/.wh..wh..opq"}, entry{name: "b/four", content: "4"}, entry{name: "c/", kind: tar.TypeDir}, entry{name: "s", link: "a/two", kind: tar.TypeSymlink},
	)), top, defaultLimits); err != nil {
		t.Fatal(err)
	}
	flat := t.TempDir()
	if err := Flatten([]string{base, top}, flat); err != nil {
		t.Fatal(err)
	}
	mounted := t.TempDir()
	if err := unix.Mount("overlay", mounted, "overlay", unix.MS_RDONLY, "lowerdir="+top+":"+base); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(mounted, unix.MNT_DETACH)
	if got, want := listing(t, flat), listing(t, mounted); got != want {
		t.Errorf("copied:\n%s\nmounted:\n%s", got, want)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(data)
		}
		b.WriteString(strings.TrimPrefix(path, dir) + " " + info.Mode().String() + " " + content + "\n")
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b.String()
}
