package registry

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

const podRangeDomain = "podcidrs"

// nodeClaims are the ranges of pod addresses that a node holds: no two nodes may be given one range, whoever gives it.
func nodeClaims(obj Object) []claim {
	var claims []claim
	for _, cidr := range obj.(*corev1.Node).Spec.PodCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			claims = append(claims, claim{podRangeDomain, prefix.Masked().String()})
		}
	}
	return claims
}
