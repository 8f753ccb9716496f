package pods

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Running are the pods that have a container running here, with as much of each as the runtime knows.
func (m *Manager) Running(ctx context.Context) ([]*corev1.Pod, error) {
	containers, err := m.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return nil, err
	}
	byUID := map[types.UID]*corev1.Pod{}
	var list []*corev1.Pod
	for _, c := range containers {
		labels := c.GetLabels()
		uid := types.UID(labels[labelPodUID])
		pod, ok := byUID[uid]
		if !ok {
			pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: labels[labelPodName], Namespace: labels[labelPodNamespace], UID: uid}}
			byUID[uid] = pod
			list = append(list, pod)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: labels[labelContainerName], Image: c.GetImage().GetUserSpecifiedImage()})
	}
	return list, nil
}
