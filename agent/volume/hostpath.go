package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// hostPath checks that the node's path is what the pod says it is, and makes it where the pod allows that.
func hostPath(source *corev1.HostPathVolumeSource) error {
	kind := ptr.Deref(source.Type, corev1.HostPathUnset)
	info, err := os.Stat(source.Path)
	if errors.Is(err, fs.ErrNotExist) {
		switch kind {
		case corev1.HostPathDirectoryOrCreate, corev1.HostPathUnset:
			return os.MkdirAll(source.Path, 0o755)
		case corev1.HostPathFileOrCreate:
			return makeFile(source.Path)
		}
	}
	if err != nil {
		return err
	}
	if kind == corev1.HostPathUnset {
		return nil
	}
	is, known := map[corev1.HostPathType]bool{
		corev1.HostPathDirectory: info.IsDir(), corev1.HostPathDirectoryOrCreate: info.IsDir(),
		corev1.HostPathFile: info.Mode().IsRegular(), corev1.HostPathFileOrCreate: info.Mode().IsRegular(),
		corev1.HostPathSocket:   info.Mode()&fs.ModeSocket != 0,
		corev1.HostPathCharDev:  info.Mode()&fs.ModeCharDevice != 0,
		corev1.HostPathBlockDev: info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0,
	}[kind]
	if !known {
		return fmt.Errorf("host path type %q is not known", kind)
	}
	if !is {
		return fmt.Errorf("%s on the node is not a %s", source.Path, kind)
	}
	return nil
}

func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}
