package pods

import (
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// plan is what a pod lacks.
type plan struct {
	// start are the containers that should run and do not, in order; back-off may still hold them up.
	start []*corev1.Container
	// finished says that no container of the pod will ever run again.
	finished bool
}

// decide compares what a pod asks for with what the runtime has. started says of a running container's ID
// whether its startup probe has succeeded.
func decide(pod *corev1.Pod, state *runtimeState, started func(id string) bool) plan {
	if finished(pod, state) {
		return plan{finished: true}
	}
	sandbox := state.sandbox().GetId()
	fresh := func(c *corev1.Container) containerState {
		// Runs in a sandbox that is gone tell how the container ended, not that it has been initialized.
		if run := state.newest(c.Name); run.exists() && run.sandbox == sandbox {
			return run
		}
		return containerState{}
	}
	var p plan
	if !anyStarted(pod, fresh) {
		if !initialize(pod, fresh, started, &p) {
			return p
		}
	} else {
		for i := range pod.Spec.InitContainers {
			if c := &pod.Spec.InitContainers[i]; sidecar(c) && !fresh(c).running() {
				p.start = append(p.start, c)
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if fresh(c).running() {
			continue
		}
		if run := state.newest(c.Name); run.exited() && !restarts(pod.Spec.RestartPolicy, run.GetExitCode()) {
			continue
		}
		p.start = append(p.start, c)
	}
	return p
}

func anyStarted(pod *corev1.Pod, fresh func(*corev1.Container) containerState) bool {
	for i := range pod.Spec.Containers {
		if run := fresh(&pod.Spec.Containers[i]); run.exists() && run.State != runtimeapi.ContainerState_CONTAINER_CREATED {
			return true
		}
	}
	return false
}

// initialize plans the next init container; true when all are through, or run beside the others.
func initialize(pod *corev1.Pod, fresh func(*corev1.Container) containerState, started func(string) bool, p *plan) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		run := fresh(c)
		switch {
		case run.running() && sidecar(c):
			if !started(run.GetId()) {
				return false
			}
		case run.running():
			return false
		case run.exited() && run.GetExitCode() == 0 && !sidecar(c):
		default:
			p.start = append(p.start, c)
			return false
		}
	}
	return true
}

// restarts says whether a container that ended with code is started again.
func restarts(policy corev1.RestartPolicy, code int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// finished says whether no container of the pod will run again: an init container failed for good, or all
// others have ended for good.
func finished(pod *corev1.Pod, state *runtimeState) bool {
	if initFailed(pod, state) {
		return true
	}
	for i := range pod.Spec.Containers {
		run := state.newest(pod.Spec.Containers[i].Name)
		if !run.exited() || restarts(pod.Spec.RestartPolicy, run.GetExitCode()) {
			return false
		}
	}
	return true
}

func initFailed(pod *corev1.Pod, state *runtimeState) bool {
	if pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		return false
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if run := state.newest(c.Name); !sidecar(c) && run.exited() && run.GetExitCode() != 0 {
			return true
		}
	}
	return false
}
