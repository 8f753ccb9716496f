package pods

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const loopbackHosts = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// writeHosts writes the pod's /etc/hosts: the node's own for a pod on the node's network, else one that knows
// the pod; the pod's aliases in either.
func writeHosts(path string, pod *corev1.Pod, domain string) error {
	var b strings.Builder
	b.WriteString("# Managed by the node agent: changes are lost when a container of the pod starts.\n")
	if pod.Spec.HostNetwork {
		if own, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(own)
		}
	} else {
		b.WriteString(loopbackHosts)
		name := podHostname(pod)
		if pod.Spec.Subdomain != "" {
			name = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", name, pod.Spec.Subdomain, pod.Namespace, domain, name)
		}
		fmt.Fprintf(&b, "%s\t%s\n", pod.Status.PodIP, name)
	}
	for _, alias := range pod.Spec.HostAliases {
		fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
