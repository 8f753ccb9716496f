package pods

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtimeState is what the runtime has of one pod at one moment.
type runtimeState struct {
	// sandboxes are newest first.
	sandboxes []*runtimeapi.PodSandboxStatus
	// containers are newest first, by container name.
	containers map[string][]containerState
}

// containerState is one container and the sandbox that it is in.
type containerState struct {
	*runtimeapi.ContainerStatus
	sandbox string
}

func (c containerState) running() bool {
	return c.ContainerStatus != nil && c.State == runtimeapi.ContainerState_CONTAINER_RUNNING
}

func (c containerState) exited() bool {
	return c.ContainerStatus != nil && c.State == runtimeapi.ContainerState_CONTAINER_EXITED
}

func (c containerState) exists() bool { return c.ContainerStatus != nil }

// readState asks the runtime about a pod.
func readState(ctx context.Context, runtime Runtime, uid types.UID) (*runtimeState, error) {
	selector := map[string]string{labelPodUID: string(uid)}
	sandboxes, err := runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	state := &runtimeState{containers: map[string][]containerState{}}
	for _, s := range sandboxes {
		response, err := runtime.PodSandboxStatus(ctx, s.GetId(), false)
		if err != nil {
			return nil, err
		}
		state.sandboxes = append(state.sandboxes, response.GetStatus())
	}
	slices.SortFunc(state.sandboxes, func(a, b *runtimeapi.PodSandboxStatus) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	containers, err := runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		response, err := runtime.ContainerStatus(ctx, c.GetId(), false)
		if err != nil {
			return nil, err
		}
		name := c.GetLabels()[labelContainerName]
		state.containers[name] = append(state.containers[name], containerState{response.GetStatus(), c.GetPodSandboxId()})
	}
	for _, list := range state.containers {
		slices.SortFunc(list, func(a, b containerState) int {
			return cmp.Or(cmp.Compare(b.GetMetadata().GetAttempt(), a.GetMetadata().GetAttempt()), cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()))
		})
	}
	return state, nil
}

// sandbox is the pod's sandbox that is ready, if there is one.
func (s *runtimeState) sandbox() *runtimeapi.PodSandboxStatus {
	if len(s.sandboxes) > 0 && s.sandboxes[0].GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
		return s.sandboxes[0]
	}
	return nil
}

// ip is the address of the pod's sandbox.
func (s *runtimeState) ip() string { return s.sandbox().GetNetwork().GetIp() }

// newest is a container's latest run; one that does not exist when it has none.
func (s *runtimeState) newest(name string) containerState {
	if list := s.containers[name]; len(list) > 0 {
		return list[0]
	}
	return containerState{}
}

func (s *runtimeState) running() []containerState {
	var list []containerState
	for _, all := range s.containers {
		for _, c := range all {
			if c.running() {
				list = append(list, c)
			}
		}
	}
	return list
}

// allContainers are the pod's containers in the order in which they start.
func allContainers(pod *corev1.Pod) []*corev1.Container {
	var list []*corev1.Container
	for i := range pod.Spec.InitContainers {
		list = append(list, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		list = append(list, &pod.Spec.Containers[i])
	}
	return list
}

// sidecar says whether an init container runs beside the others instead of before them.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
