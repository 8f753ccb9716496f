package validation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

const serviceManifest = `
apiVersion: v1
kind: Service
metadata: {name: web, resourceVersion: "1"}
spec:
  clusterIP: 10.43.0.5
  selector: {app: web}
  ports: [{port: 80}]
`

func TestService(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*corev1.ServiceSpec)
		want   []string
	}{
		{"no ports", func(s *corev1.ServiceSpec) { s.Ports = nil }, []string{`spec.ports: Required value`}},
		{"headless without ports", func(s *corev1.ServiceSpec) { s.Ports, s.ClusterIP = nil, "None" }, nil},
		{"type", func(s *corev1.ServiceSpec) { s.Type = "Cloud" },
			[]string{`spec.type: Unsupported value: "Cloud": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		{"port too low", func(s *corev1.ServiceSpec) { s.Ports[0].Port = -1 },
			[]string{`spec.ports[0].port: Invalid value: -1: must be between 1 and 65535, inclusive`}},
		{"names are needed", func(s *corev1.ServiceSpec) { s.Ports = append(s.Ports, corev1.ServicePort{Port: 81}) },
			[]string{`spec.ports[0].name: Required value`, `spec.ports[1].name: Required value`}},
		{"same name", func(s *corev1.ServiceSpec) {
			s.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "a", Port: 81}}
		}, []string{`spec.ports[1].name: Duplicate value: "a"`}},
		{"same port", func(s *corev1.ServiceSpec) {
			s.Ports = []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 80}}
		}, []string{`spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}`}},
		{"protocol", func(s *corev1.ServiceSpec) { s.Ports[0].Protocol = "tcp" },
			[]string{`spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"`}},
		{"target", func(s *corev1.ServiceSpec) { s.Ports[0].TargetPort = intstr.FromString("no spaces here") },
			[]string{`spec.ports[0].targetPort: Invalid value: "no spaces here": must contain only…`}},
		{"node port of the wrong type", func(s *corev1.ServiceSpec) { s.Ports[0].NodePort = 30000 },
			[]string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{"selector", func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"a b": "c"} }, []string{`spec.selector: Invalid value: "a b": …`}},
		{"address", func(s *corev1.ServiceSpec) { s.ClusterIP = "ten" }, []string{`spec.clusterIP: Invalid value: "ten": must be a valid IP address…`}},
		{"two addresses that differ", func(s *corev1.ServiceSpec) { s.ClusterIPs = []string{"10.43.0.6"} },
			[]string{"spec.clusterIPs: Invalid value: [\"10.43.0.6\"]: first value must match `clusterIP`"}},
		{"affinity", func(s *corev1.ServiceSpec) { s.SessionAffinity = "Cookie" },
			[]string{`spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"`}},
		{"affinity for a week", func(s *corev1.ServiceSpec) {
			s.SessionAffinity = corev1.ServiceAffinityClientIP
			s.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](7 * 86400)}}
		}, []string{`spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 604800: must be greater than 0 and less than 86400`}},
		{"name outside", func(s *corev1.ServiceSpec) { s.Type, s.ClusterIP = corev1.ServiceTypeExternalName, "" },
			[]string{`spec.externalName: Required value`}},
		{"name outside with an address", func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "db.example"
		}, []string{"spec.clusterIPs: Forbidden: may not be set when `type` is 'ExternalName'"}},
		{"external address", func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"x"} }, []string{`spec.externalIPs[0]: Invalid value: "x": must be a valid IP address…`}},
		{"internal policy", func(s *corev1.ServiceSpec) {
			s.InternalTrafficPolicy = ptr.To[corev1.ServiceInternalTrafficPolicy]("Near")
		},
			[]string{`spec.internalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"`}},
		{"distribution", func(s *corev1.ServiceSpec) { s.TrafficDistribution = ptr.To("Near") },
			[]string{`spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"`}},
		{"distribution to the node", func(s *corev1.ServiceSpec) {
			s.TrafficDistribution = ptr.To(corev1.ServiceTrafficDistributionPreferSameNode)
		}, nil},
		{"families", func(s *corev1.ServiceSpec) {
			s.IPFamilies, s.IPFamilyPolicy = []corev1.IPFamily{"IPv5"}, ptr.To[corev1.IPFamilyPolicy]("Any")
		}, []string{
			`spec.ipFamilyPolicy: Unsupported value: "Any": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`,
			`spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`,
		}},
		{"ranges", func(s *corev1.ServiceSpec) { s.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} },
			[]string{"spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			svc := parse[*corev1.Service](t, serviceManifest)
			test.change(&svc.Spec)
			defaults.Apply(svc)
			expect(t, Create(svc), test.want...)
		})
	}
}

func TestServiceUpdate(t *testing.T) {
	old := parse[*corev1.Service](t, serviceManifest)
	svc := old.DeepCopy()
	svc.Spec.Ports[0].Port = 8080
	expect(t, Update(svc, old))
	svc.Spec.ClusterIP = "10.43.0.6"
	expect(t, Update(svc, old), `spec.clusterIPs[0]: Invalid value: ["10.43.0.6"]: field is immutable`)
	svc.Spec.ClusterIP = ""
	expect(t, Update(svc, old), `spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset`)
	svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example"
	expect(t, Update(svc, old))
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "there"}}
	expect(t, UpdateStatus(svc, old), `status.loadBalancer.ingress[0].ip: Invalid value: "there": must be a valid IP address…`)
}
