package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// source has at most one object of each kind.
type source struct {
	configMap *corev1.ConfigMap
	secret    *corev1.Secret
}

func (s *source) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if s.configMap == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return s.configMap, nil
}

func (s *source) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if s.secret == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
	}
	return s.secret, nil
}

type names struct{}

func (names) Field(pod *corev1.Pod, _ string) (string, error) { return pod.Name, nil }
func (names) Resource(*corev1.Pod, *corev1.ResourceFieldSelector, string) (string, error) {
	return "", errors.New("none")
}

func podWith(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Volumes: volumes}}
}

func configMapVolume(items ...corev1.KeyToPath) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{Items: items}}}
}

func setup(t *testing.T, m *Mounter, pod *corev1.Pod, dir string) string {
	t.Helper()
	paths, err := m.Setup(t.Context(), pod, dir)
	if err != nil {
		t.Fatal(err)
	}
	return paths["v"]
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConfigMapChangesInOneStep(t *testing.T) {
	s := &source{configMap: &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "1"}}}
	m, dir, pod := New(s, names{}), t.TempDir(), podWith(configMapVolume())
	path := setup(t, m, pod, dir)
	link, err := os.Readlink(filepath.Join(path, "..data"))
	if err != nil || content(t, filepath.Join(path, "a")) != "1" {
		t.Fatal(err)
	}
	// Nothing new: nothing is touched.
	setup(t, m, pod, dir)
	if again, _ := os.Readlink(filepath.Join(path, "..data")); again != link {
		t.Error("the same content was written again")
	}
	// Who holds the old content open in its directory sees old files only.
	old, err := os.OpenRoot(filepath.Join(path, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	s.configMap = &corev1.ConfigMap{Data: map[string]string{"a": "2", "c": "2"}}
	setup(t, m, pod, dir)
	if content(t, filepath.Join(path, "a")) != "2" || content(t, filepath.Join(path, "c")) != "2" {
		t.Error("the new content is not there")
	}
	if _, err := os.Lstat(filepath.Join(path, "b")); !os.IsNotExist(err) {
		t.Errorf("a key that is gone is still shown: %v", err)
	}
	if _, err := old.Stat("c"); err == nil {
		t.Error("old and new content are mixed")
	}
	entries, err := filepath.Glob(filepath.Join(path, contentName+"*"))
	if err != nil || len(entries) != 1 {
		t.Errorf("contents %v, %v", entries, err)
	}
}

func TestVolumesRefuse(t *testing.T) {
	s := &source{configMap: &corev1.ConfigMap{Data: map[string]string{"a": "1"}}}
	for what, volume := range map[string]corev1.Volume{
		"a key that is not there": configMapVolume(corev1.KeyToPath{Key: "z", Path: "z"}),
		"a path out of it":        configMapVolume(corev1.KeyToPath{Key: "a", Path: "../../x"}),
		"a missing secret":        {Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none"}}},
		"an unknown kind":         {Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}},
		"a host path that is something else": {Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
			Path: "/proc/version", Type: ptr.To(corev1.HostPathDirectory)}}},
	} {
		if _, err := New(s, names{}).Setup(t.Context(), podWith(volume), t.TempDir()); err == nil || !strings.Contains(err.Error(), `volume "v"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	optional := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "none", Optional: ptr.To(true)}}}
	dir := t.TempDir()
	if _, err := New(s, names{}).Setup(t.Context(), podWith(optional), dir); err != nil {
		t.Error(err)
	}
	if err := Teardown(dir); err != nil {
		t.Error(err)
	}
}

func TestSecretsStayInMemoryAndGo(t *testing.T) {
	s := &source{secret: &corev1.Secret{Data: map[string][]byte{"key": []byte("x")}}}
	dir := t.TempDir()
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To(int32(0o400))}}})
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
	path := setup(t, New(s, names{}), pod, dir)
	if !strings.Contains(content(t, "/proc/self/mounts"), " "+path+" tmpfs ") {
		t.Error("the secret is on a disk")
	}
	info, err := os.Stat(filepath.Join(path, "key"))
	if err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("mode %v, %v: the pod's group has to be able to read it", info.Mode(), err)
	}
	if err := Teardown(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) || strings.Contains(content(t, "/proc/self/mounts"), dir) {
		t.Errorf("something is left: %v", err)
	}
}

func TestEmptyDirKeepsWhatIsInIt(t *testing.T) {
	m, dir := New(&source{}, names{}), t.TempDir()
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	path := setup(t, m, pod, dir)
	if err := os.WriteFile(filepath.Join(path, "data"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if setup(t, m, pod, dir); content(t, filepath.Join(path, "data")) != "mine" {
		t.Error("the container's data is gone")
	}
}

func TestSubPathStaysInTheVolume(t *testing.T) {
	volume, outside, targets := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../x", "/etc", "link", "link/secret", "link/new"} {
		if got, err := SubPath(volume, path, filepath.Join(targets, "refused"), corev1.MountPropagationNone); err == nil {
			t.Errorf("%s leads to %s", path, got)
		}
	}
	target, err := SubPath(volume, "new/deep", filepath.Join(targets, "taken"), corev1.MountPropagationNone)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "f"), []byte("through"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content(t, filepath.Join(volume, "new/deep/f")) != "through" {
		t.Error("the sub path is another directory")
	}
	if err := Teardown(targets); err != nil {
		t.Fatal(err)
	}
	if content(t, filepath.Join(volume, "new/deep/f")) != "through" {
		t.Error("removing the mount removed the volume's content")
	}
}

// A memory volume is the containers' own once it is there: what they set on it stays.
func TestEmptyDirInMemoryIsSetUpOnce(t *testing.T) {
	for _, medium := range []corev1.StorageMedium{corev1.StorageMediumMemory, corev1.StorageMediumDefault} {
		m, dir := New(&source{}, names{}), t.TempDir()
		pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}}})
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(2000))}
		path := setup(t, m, pod, dir)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o777 || info.Mode()&os.ModeSetgid == 0 || info.Sys().(*syscall.Stat_t).Gid != 2000 {
			t.Errorf("medium %q: %v, %v", medium, info.Mode(), err)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(setup(t, m, pod, dir)); err != nil || info.Mode() != os.ModeDir|0o700 {
			t.Errorf("medium %q: mode %v after another look, %v", medium, info.Mode(), err)
		}
		if err := Teardown(dir); err != nil {
			t.Error(err)
		}
	}
}

// What is mounted in a sub path does not show in the volume, nor does it go from there with the sub path.
func TestSubPathKeepsItsMountsToItself(t *testing.T) {
	for mode, follows := range map[corev1.MountPropagationMode]bool{
		corev1.MountPropagationNone: false, corev1.MountPropagationHostToContainer: true, corev1.MountPropagationBidirectional: true,
	} {
		volume, targets := t.TempDir(), t.TempDir()
		for _, name := range []string{"sub/before", "sub/after", "sub/inside"} {
			if err := os.MkdirAll(filepath.Join(volume, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		mount := func(source, target string, flags uintptr) {
			t.Helper()
			if err := unix.Mount(source, target, "tmpfs", flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		mount(volume, volume, unix.MS_BIND)
		t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
		mount("", volume, unix.MS_SHARED)
		mount("tmpfs", filepath.Join(volume, "sub/before"), 0)
		target, err := SubPath(volume, "sub", filepath.Join(targets, "sub"), mode)
		if err != nil {
			t.Fatal(err)
		}
		mount("tmpfs", filepath.Join(volume, "sub/after"), 0)
		mount("tmpfs", filepath.Join(target, "inside"), 0)
		mounted := func(path string) bool {
			is, err := mountinfo.Mounted(path)
			return err == nil && is
		}
		if got := mounted(filepath.Join(target, "after")); got != follows {
			t.Errorf("%s: a later mount of the volume shows in the sub path: %v", mode, got)
		}
		if got := mounted(filepath.Join(volume, "sub/inside")); got != (mode == corev1.MountPropagationBidirectional) {
			t.Errorf("%s: a mount in the sub path shows in the volume: %v", mode, got)
		}
		if err := Teardown(targets); err != nil {
			t.Fatal(err)
		}
		if !mounted(filepath.Join(volume, "sub/before")) || !mounted(filepath.Join(volume, "sub/after")) {
			t.Errorf("%s: the volume's own mounts went with the sub path", mode)
		}
	}
}
