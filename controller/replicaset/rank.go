package replicaset

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/controller/podstate"
)

// victims picks the n active pods whose loss hurts least. together says how many pods that do the same
// work run on each node.
func victims(pods []*corev1.Pod, n int, together map[string]int, minReady time.Duration, now time.Time) []*corev1.Pod {
	ranked := make([]candidate, 0, len(pods))
	for _, pod := range pods {
		if podstate.Active(pod) {
			ranked = append(ranked, rank(pod, together, minReady, now))
		}
	}
	slices.SortFunc(ranked, candidate.compare)
	chosen := make([]*corev1.Pod, min(n, len(ranked)))
	for i := range chosen {
		chosen[i] = ranked[i].pod
	}
	return chosen
}

// candidate is a pod with what decides when it is its turn to be deleted.
type candidate struct {
	pod       *corev1.Pod
	scheduled bool
	phase     int
	ready     bool
	available bool
	cost      int64
	together  int
	since     time.Time
	restarts  int32
}

func rank(pod *corev1.Pod, together map[string]int, minReady time.Duration, now time.Time) candidate {
	available, _ := podstate.Available(pod, minReady, now)
	c := candidate{
		pod:       pod,
		scheduled: pod.Spec.NodeName != "",
		phase:     phaseRank(pod.Status.Phase),
		ready:     podstate.Ready(pod),
		available: available,
		cost:      deletionCost(pod),
		together:  together[pod.Spec.NodeName],
	}
	if ready := podstate.Condition(pod, corev1.PodReady); ready != nil && c.ready {
		c.since = ready.LastTransitionTime.Time
	}
	for _, container := range pod.Status.ContainerStatuses {
		c.restarts = max(c.restarts, container.RestartCount)
	}
	return c
}

// compare orders candidates as Kubernetes does, the one to go first first. One rule is ours: what isn't available
// goes before what is, so that scaling down by as many pods as are unavailable never costs an available one. The
// deployment controller counts on that.
func (c candidate) compare(d candidate) int {
	return cmp.Or(
		falseFirst(c.scheduled, d.scheduled),
		cmp.Compare(c.phase, d.phase),
		falseFirst(c.ready, d.ready),
		falseFirst(c.available, d.available),
		cmp.Compare(c.cost, d.cost),
		cmp.Compare(d.together, c.together),
		d.since.Compare(c.since),
		cmp.Compare(d.restarts, c.restarts),
		d.pod.CreationTimestamp.Compare(c.pod.CreationTimestamp.Time),
		cmp.Compare(c.pod.Name, d.pod.Name),
	)
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func phaseRank(phase corev1.PodPhase) int {
	switch phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	default:
		return 0
	}
}

// deletionCost is what the user says that a pod's loss costs, compared to that of its siblings.
func deletionCost(pod *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}
