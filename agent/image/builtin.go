package image

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// libraryDirs are where the dynamic linker of usual distributions looks when nothing else is said.
var libraryDirs = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
}

// FromProgram makes an image without layers out of a program of this machine: the file at path appears in
// the image at destination, read-only, with the shared libraries that it needs, if any.
func FromProgram(path, destination string, config v1.Config) (Image, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Image{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Image{}, err
	}
	libraries, err := sharedObjects(path)
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", path, err)
	}
	image := Image{Config: config, Binds: []Bind{{Source: path, Destination: destination}}, Size: info.Size()}
	for _, library := range libraries {
		image.Binds = append(image.Binds, Bind{Source: library, Destination: library})
	}
	// No content is hashed: the identity of a program is the file and its time.
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", path, info.Size(), info.ModTime().UnixNano()))
	image.ID = "sha256:" + hex.EncodeToString(sum[:])
	return image, nil
}

// sharedObjects lists the dynamic linker and all libraries that a program needs; none when it is static.
func sharedObjects(program string) ([]string, error) {
	var found []string
	queue := []string{program}
	for len(queue) > 0 {
		file := queue[0]
		queue = queue[1:]
		needed, err := dependencies(file)
		if err != nil {
			return nil, err
		}
		for _, path := range needed {
			if !slices.Contains(found, path) {
				found = append(found, path)
				queue = append(queue, path)
			}
		}
	}
	return found, nil
}

// dependencies are the interpreter and the libraries that one file names.
func dependencies(file string) ([]string, error) {
	parsed, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer parsed.Close()
	var paths []string
	for _, segment := range parsed.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(name, 0); err != nil {
			return nil, err
		}
		paths = append(paths, strings.TrimRight(string(name), "\x00"))
	}
	libraries, err := parsed.ImportedLibraries()
	if err != nil && len(paths) > 0 {
		return nil, err
	}
	for _, library := range libraries {
		path, err := findLibrary(library)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryDirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("needs the library %s, which is in none of the usual places: build a static program", name)
}
