package e2e

import (
	"regexp"
	"strings"
	"testing"
)

// sickPods end, or don't start, in every way that a newcomer's pods do.
const sickPods = `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: crashes}, spec: {containers: [{name: c, image: ctlplane.local/demo, command: [/ctlplane, version]}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: done}, spec: {restartPolicy: Never, containers: [{name: c, image: ctlplane.local/demo, command: [/ctlplane, version]}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: no-command}, spec: {containers: [{name: c, image: ctlplane.local/demo, command: [/nothing]}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: never-a-command}, spec: {restartPolicy: Never, containers: [{name: c, image: ctlplane.local/demo, command: [/nothing]}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: no-image}, spec: {containers: [{name: c, image: "127.0.0.1:1/none"}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: too-large}, spec: {nodeName: n1, containers: [{name: c, image: ctlplane.local/demo, resources: {requests: {cpu: "1000"}}}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: unplaced}, spec: {containers: [{name: c, image: ctlplane.local/demo, resources: {requests: {cpu: "1000"}}}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: init-fails}
  spec:
    restartPolicy: Never
    initContainers: [{name: i, image: ctlplane.local/demo, command: [/nothing]}]
    containers: [{name: c, image: ctlplane.local/demo}]
`

// unsetTime is a time that nobody has set, as it is printed: one of the year 1. UIDs and names may hold its digits, too.
var unsetTime = regexp.MustCompile(`\b(0001-01-01|[A-Z][a-z]{2} 0001)\b`)

// TestDescribeShowsNoYearOne describes every object of a cluster whose pods are well and sick: a time that is not known is left
// out, and not shown as that of the year 1.
func TestDescribeShowsNoYearOne(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.feed(sickPods, "apply", "-f", "-")
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	waiting := map[string]string{
		"crashes": "CrashLoopBackOff", "done": "Completed", "no-command": "128", "never-a-command": "StartError", "no-image": "ImagePull",
		"too-large": "OutOfcpu", "unplaced": "Unschedulable", "init-fails": "128",
	}
	for pod, sign := range waiting {
		eventually(t, pod+" shows "+sign, func() bool {
			return strings.Contains(k.run("get", "pod", pod, "-o", "jsonpath={.status}"), sign)
		})
	}
	const kinds = "nodes,pods,deployments,replicasets,services,endpointslices,events,leases,namespaces,configmaps,secrets,serviceaccounts"
	for _, s := range []shell{k, ctlplane(t, c.Kubeconfig())} {
		for _, words := range [][]string{{"describe", kinds, "-A"}, {"get", kinds, "-A", "-o", "wide"}, {"get", "events", "-A", "-o", "wide"}} {
			account := s.run(words...)
			for line := range strings.Lines(account) {
				if unsetTime.MatchString(line) || strings.Contains(line, "<invalid>") {
					t.Errorf("%s %s: %s", s.path, strings.Join(words, " "), line)
				}
			}
		}
	}
}
