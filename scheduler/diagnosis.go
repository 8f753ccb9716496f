package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// diagnosis explains why no node can take a pod: how many nodes were rejected for which reason.
type diagnosis struct {
	nodes   int
	reasons map[string]int
}

func (d *diagnosis) reject(reasons []string) {
	if d.reasons == nil {
		d.reasons = map[string]int{}
	}
	for _, reason := range reasons {
		d.reasons[reason]++
	}
}

// message is in kube-scheduler's words: "0/2 nodes are available: 1 Insufficient cpu, 1 Too many pods."
func (d *diagnosis) message() string {
	if d.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	counts := make([]string, 0, len(d.reasons))
	for reason, count := range d.reasons {
		counts = append(counts, fmt.Sprintf("%d %s", count, reason))
	}
	slices.Sort(counts)
	return fmt.Sprintf("0/%d nodes are available: %s.", d.nodes, strings.Join(counts, ", "))
}
