package rest_test

import (
	"strings"
	"testing"
)

const nodePortManifest = `apiVersion: v1
kind: Service
metadata: {name: s}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
`

// TestKubectlKeepsNodePorts changes a service in the ways of kubectl, none of which names the node port again.
func TestKubectlKeepsNodePorts(t *testing.T) {
	k := newKubectl(t, newCluster(t, nil))
	nodePort := func() string { return k.run("get", "service", "s", "-o", "jsonpath={.spec.ports[*].nodePort}") }
	k.expect([]string{"service/s created"}, "apply", "-f", writeFile(t, nodePortManifest))
	first := nodePort()
	another := writeFile(t, strings.Replace(nodePortManifest, "port: 80", "port: 81", 1))
	for _, change := range [][]string{
		{"apply", "-f", another},
		{"replace", "-f", writeFile(t, nodePortManifest)},
		{"patch", "service", "s", "--type=merge", "-p", `{"spec":{"ports":[{"port":82}]}}`},
	} {
		out := k.run(change...)
		if got := nodePort(); got != first {
			t.Errorf("kubectl %s: node port %s became %s", strings.Join(change, " "), first, got)
		}
		if strings.Contains(out, "Warning: spec.type") {
			t.Errorf("kubectl %s: node ports are forwarded, and a warning says otherwise:\n%s", strings.Join(change, " "), out)
		}
	}
	k.run("patch", "service", "s", "-p", `{"spec":{"type":"ClusterIP"}}`)
	if got := nodePort(); got != "" {
		t.Errorf("a service of type ClusterIP has node port %s", got)
	}
	k.expect([]string{"created"}, "create", "service", "nodeport", "other", "--tcp=80", "--node-port="+first)
}
