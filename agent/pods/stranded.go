package pods

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// whyStranded is told of containers that are ended for it.
const whyStranded = "the pod's address is not of the node's range any more"

// stranded tells whether nobody can reach a pod, because its address is of a range that the node had before: a node that is
// registered anew may get another. A pod that runs to an end is left to it, for it would not run again.
func (w *worker) stranded(pod *corev1.Pod, state *runtimeState) bool {
	if w.m.cfg.Leads == nil || pod.Spec.HostNetwork || pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return false
	}
	ip, err := netip.ParseAddr(state.ip())
	return err == nil && !w.m.cfg.Leads(ip)
}

// leave ends what runs at a stranded pod's address, within its grace period, and then gives the sandbox up: the pod's next one has an
// address of the node's range.
func (w *worker) leave(ctx context.Context, pod *corev1.Pod, state *runtimeState) time.Duration {
	if !w.endContainers(pod, state, whyStranded) {
		return resync
	}
	w.log.Info("a pod is made anew", "reason", whyStranded, "address", state.ip())
	if err := w.m.runtime.StopPodSandbox(ctx, state.sandbox().GetId()); err != nil {
		w.log.Error("stop the sandbox of a pod at an address that leads elsewhere", "error", err)
		return retry
	}
	return 0
}
