package pods

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPodOutsideOfTheNodesRangeIsMadeAnew has the node get another range of addresses: its pods ran on, where nobody reached them.
func TestPodOutsideOfTheNodesRangeIsMadeAnew(t *testing.T) {
	b := newBench(t)
	b.create(newPod("serves", corev1.RestartPolicyAlways, "serves"))
	b.create(newPod("ends", corev1.RestartPolicyOnFailure, "ends"))
	host := newPod("host", corev1.RestartPolicyAlways, "host")
	host.Spec.HostNetwork = true
	b.create(host)
	for _, name := range []string{"serves", "ends", "host"} {
		b.status(name, "ready", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) })
	}
	b.stop()
	b.runtime.mu.Lock()
	b.runtime.address = "10.0.9.1"
	b.runtime.mu.Unlock()
	b.leads = netip.MustParsePrefix("10.0.9.0/24").Contains
	b.start()
	b.runtime.until(t, "another run", func() bool { return b.runtime.runs("serves", 1) })
	pod := b.status("serves", "ready at its new address", func(pod *corev1.Pod) bool {
		return condition(pod, corev1.PodReady) && pod.Status.PodIP == "10.0.9.1"
	})
	if restarts := pod.Status.ContainerStatuses[0].RestartCount; restarts != 1 {
		t.Errorf("%d restarts", restarts)
	}
	for _, name := range []string{"serves", "ends", "host"} {
		b.runtime.looked(t, b.manager, b.status(name, "there", func(pod *corev1.Pod) bool { return pod != nil }))
	}
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	if !b.runtime.runs("ends", 0) || !b.runtime.runs("host", 0) || !b.runtime.runs("serves", 1) {
		t.Error("more was ended than what nobody reaches")
	}
	if !slices.Equal(b.runtime.stops, []int64{30}) {
		t.Errorf("stops with grace %v", b.runtime.stops)
	}
}
