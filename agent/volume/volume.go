// Package volume makes the volumes of a pod on its node: directories that containers are shown, filled
// from the cluster's objects where the pod asks for that.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
)

// Source reads the objects that volumes are filled from. Its errors are those of the API.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Downward gives the pod's own facts: a field, or a container's resource, as text.
type Downward interface {
	Field(pod *corev1.Pod, path string) (string, error)
	Resource(pod *corev1.Pod, selector *corev1.ResourceFieldSelector, container string) (string, error)
}

// Mounter makes and removes the volumes of pods under one directory a pod.
//
//  1. Setup may be called any number of times: it makes what is missing and brings the content of volumes
//     that come from objects up to date; data that containers wrote is never touched.
//  2. A container sees the old content of such a volume or the new, never a mixture.
//  3. Nothing of a pod's volumes is left after Teardown.
type Mounter struct {
	source   Source
	downward Downward
}

// New makes a mounter.
func New(source Source, downward Downward) *Mounter {
	return &Mounter{source: source, downward: downward}
}

// Setup makes all volumes of a pod below dir and returns the path of each by the volume's name.
func (m *Mounter) Setup(ctx context.Context, pod *corev1.Pod, dir string) (map[string]string, error) {
	paths := map[string]string{}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		path, err := m.setup(ctx, pod, volume, filepath.Join(dir, "volumes", volume.Name))
		if err != nil {
			return nil, fmt.Errorf("volume %q: %w", volume.Name, err)
		}
		paths[volume.Name] = path
	}
	return paths, nil
}

func (m *Mounter) setup(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume, path string) (string, error) {
	if volume.HostPath != nil {
		return volume.HostPath.Path, hostPath(volume.HostPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	if volume.EmptyDir != nil {
		return path, emptyDir(path, volume.EmptyDir, fsGroup(pod))
	}
	files, err := m.files(ctx, pod, volume)
	if err != nil {
		return "", err
	}
	if volume.Secret != nil || volume.Projected != nil {
		// Secrets stay in memory: they must not be found on a disk that is taken out of the node.
		if err := mountMemory(path, "mode=0755"); err != nil {
			return "", err
		}
	} else if err := os.MkdirAll(path, 0o755); err != nil {
		return "", err
	}
	return path, writeAtomically(path, files, fsGroup(pod))
}

// Teardown removes the volumes below dir, and what Setup and SubPath mounted there.
func Teardown(dir string) error { return mountpoint.RemoveAll(dir) }

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// emptyDir makes a directory that belongs to the pod's containers from the moment that it is there: nothing about it
// is changed afterwards.
func emptyDir(path string, source *corev1.EmptyDirVolumeSource, group *int64) error {
	switch source.Medium {
	case corev1.StorageMediumMemory:
		options := "mode=0777"
		if group != nil {
			options = fmt.Sprintf("mode=2777,gid=%d", *group)
		}
		if limit := source.SizeLimit; limit != nil && !limit.IsZero() {
			options += fmt.Sprintf(",size=%d", limit.Value())
		}
		return mountMemory(path, options)
	case corev1.StorageMediumDefault:
		return makeShared(path, group)
	}
	return fmt.Errorf("medium %q is not supported: use Memory or none", source.Medium)
}

// makeShared makes a directory that all may write to, once and whole.
func makeShared(path string, group *int64) error {
	if _, err := os.Lstat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	draft, err := os.MkdirTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o777)
	if group != nil {
		mode |= fs.ModeSetgid
		if err := os.Lchown(draft, -1, int(*group)); err != nil {
			return err
		}
	}
	if err := os.Chmod(draft, mode); err != nil { // whatever the umask
		return err
	}
	return os.Rename(draft, path)
}

// mountMemory mounts a file system in memory at path, once.
func mountMemory(path, options string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	mounted, err := mountinfo.Mounted(path)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount a file system in memory: %w", err)
	}
	return nil
}
