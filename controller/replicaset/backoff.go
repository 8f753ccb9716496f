package replicaset

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	firstWait   = time.Second     // before a rejected pod's place is filled again
	longestWait = 5 * time.Minute // however often that happened
	// memory is how long a rejected pod counts: longer than a wait, or there would be no next one.
	memory = 2*longestWait + firstWait
)

// heldUp is how long a set waits before it makes more pods, because nodes rejected those that it made: the next ones may
// well end the same way, at once. It waits as long as this has gone on already, so each wait is twice the one before.
// What is known is in the rejected pods themselves, so waits outlive the controller.
func heldUp(owned []*corev1.Pod, now time.Time) time.Duration {
	var first, newest time.Time
	for _, pod := range owned {
		made := pod.CreationTimestamp.Time
		if !rejected(pod) || now.Sub(made) > memory {
			continue
		}
		if first.IsZero() || made.Before(first) {
			first = made
		}
		if made.After(newest) {
			newest = made
		}
	}
	if newest.IsZero() {
		return 0
	}
	wait := min(max(newest.Sub(first), firstWait), longestWait)
	return max(0, newest.Add(wait).Sub(now))
}

// rejected tells whether the node to which a pod was bound refused to run it.
func rejected(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed && len(pod.Status.ContainerStatuses) == 0 &&
		(strings.HasPrefix(pod.Status.Reason, "OutOf") || slices.Contains(rejections, pod.Status.Reason))
}

// rejections are what nodes give as the reason, beside OutOf and the name of a resource.
var rejections = []string{"NodePorts", "NodeAffinity", "NodeName", "TaintToleration", "UnexpectedAdmissionError"}
