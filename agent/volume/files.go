package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// file is one file of a volume that comes from objects.
type file struct {
	content []byte
	mode    int32
}

// files gives the content of a volume by path within it.
func (m *Mounter) files(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) (map[string]file, error) {
	switch {
	case volume.ConfigMap != nil:
		c := volume.ConfigMap
		return m.configMap(ctx, pod, c.Name, c.Items, c.DefaultMode, c.Optional)
	case volume.Secret != nil:
		s := volume.Secret
		return m.secret(ctx, pod, s.SecretName, s.Items, s.DefaultMode, s.Optional)
	case volume.DownwardAPI != nil:
		return m.downwardAPI(pod, volume.DownwardAPI.Items, volume.DownwardAPI.DefaultMode)
	case volume.Projected != nil:
		return m.projected(ctx, pod, volume.Projected)
	}
	return nil, errors.New("its kind is not supported: use emptyDir, configMap, secret, downwardAPI, projected or hostPath")
}

func (m *Mounter) projected(ctx context.Context, pod *corev1.Pod, source *corev1.ProjectedVolumeSource) (map[string]file, error) {
	all := map[string]file{}
	for _, part := range source.Sources {
		var files map[string]file
		var err error
		switch {
		case part.ConfigMap != nil:
			files, err = m.configMap(ctx, pod, part.ConfigMap.Name, part.ConfigMap.Items, source.DefaultMode, part.ConfigMap.Optional)
		case part.Secret != nil:
			files, err = m.secret(ctx, pod, part.Secret.Name, part.Secret.Items, source.DefaultMode, part.Secret.Optional)
		case part.DownwardAPI != nil:
			files, err = m.downwardAPI(pod, part.DownwardAPI.Items, source.DefaultMode)
		default:
			err = errors.New("its kind of projected source is not supported: use configMap, secret or downwardAPI")
		}
		if err != nil {
			return nil, err
		}
		for path, f := range files {
			all[path] = f
		}
	}
	return all, nil
}

func (m *Mounter) configMap(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	object, err := m.source.ConfigMap(ctx, pod.Namespace, name)
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	content := map[string][]byte{}
	for key, value := range object.Data {
		content[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		content[key] = value
	}
	return pick(content, items, ptr.Deref(mode, corev1.ConfigMapVolumeSourceDefaultMode), ptr.Deref(optional, false))
}

func (m *Mounter) secret(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]file, error) {
	object, err := m.source.Secret(ctx, pod.Namespace, name)
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return pick(object.Data, items, ptr.Deref(mode, corev1.SecretVolumeSourceDefaultMode), ptr.Deref(optional, false))
}

// pick chooses an object's keys and their paths; all keys under their own names when none are listed.
func pick(content map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool) (map[string]file, error) {
	files := map[string]file{}
	if len(items) == 0 {
		for key, value := range content {
			files[key] = file{value, mode}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := content[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("references non-existent config key: %s", item.Key)
		}
		path, err := inside(item.Path)
		if err != nil {
			return nil, err
		}
		files[path] = file{value, ptr.Deref(item.Mode, mode)}
	}
	return files, nil
}

func (m *Mounter) downwardAPI(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode *int32) (map[string]file, error) {
	files := map[string]file{}
	for _, item := range items {
		path, err := inside(item.Path)
		if err != nil {
			return nil, err
		}
		var value string
		switch {
		case item.FieldRef != nil:
			value, err = m.downward.Field(pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = m.downward.Resource(pod, item.ResourceFieldRef, item.ResourceFieldRef.ContainerName)
		}
		if err != nil {
			return nil, err
		}
		files[path] = file{[]byte(value), ptr.Deref(item.Mode, ptr.Deref(mode, corev1.DownwardAPIVolumeSourceDefaultMode))}
	}
	return files, nil
}

// inside refuses a path that leads out of its volume.
func inside(path string) (string, error) {
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("path %q leads out of the volume", path)
	}
	return filepath.Clean(path), nil
}
