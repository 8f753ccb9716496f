package auth

import corev1 "k8s.io/api/core/v1"

// configMapRefs lists the configmaps that a pod's node needs to run it.
func configMapRefs(pod *corev1.Pod) []string {
	var names []string
	eachEnv(&pod.Spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, v := range env {
			if v.ValueFrom != nil && v.ValueFrom.ConfigMapKeyRef != nil {
				names = append(names, v.ValueFrom.ConfigMapKeyRef.Name)
			}
		}
		for _, source := range from {
			if source.ConfigMapRef != nil {
				names = append(names, source.ConfigMapRef.Name)
			}
		}
	})
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil {
			names = append(names, v.ConfigMap.Name)
		}
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				if source.ConfigMap != nil {
					names = append(names, source.ConfigMap.Name)
				}
			}
		}
	}
	return names
}

// secretRefs lists the secrets that a pod's node needs to run it.
func secretRefs(pod *corev1.Pod) []string {
	var names []string
	for _, pull := range pod.Spec.ImagePullSecrets {
		names = append(names, pull.Name)
	}
	eachEnv(&pod.Spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, v := range env {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
				names = append(names, v.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, source := range from {
			if source.SecretRef != nil {
				names = append(names, source.SecretRef.Name)
			}
		}
	})
	for _, v := range pod.Spec.Volumes {
		names = append(names, volumeSecrets(&v)...)
	}
	return names
}

func volumeSecrets(v *corev1.Volume) []string {
	switch {
	case v.Secret != nil:
		return []string{v.Secret.SecretName}
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		return []string{v.CSI.NodePublishSecretRef.Name}
	case v.Projected != nil:
		var names []string
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				names = append(names, source.Secret.Name)
			}
		}
		return names
	}
	return nil
}

// eachEnv calls f with the environment of every container of every sort.
func eachEnv(spec *corev1.PodSpec, f func([]corev1.EnvVar, []corev1.EnvFromSource)) {
	for i := range spec.InitContainers {
		f(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		f(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		f(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
}
