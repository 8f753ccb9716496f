package registry_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

// ports makes service ports of name/number/nodePort[/protocol]; a number of 0 stays out.
func ports(t *testing.T, words string) []corev1.ServicePort {
	t.Helper()
	var ports []corev1.ServicePort
	for _, word := range strings.Fields(words) {
		var port corev1.ServicePort
		parts := strings.Split(word, "/")
		port.Name = strings.TrimPrefix(parts[0], "-")
		if _, err := fmt.Sscan(parts[1], &port.Port); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(parts[2], &port.NodePort); err != nil {
			t.Fatal(err)
		}
		if len(parts) > 3 {
			port.Protocol = corev1.Protocol(parts[3])
		}
		ports = append(ports, port)
	}
	return ports
}

func TestAReplacedServiceKeepsItsNodePorts(t *testing.T) {
	const fresh = -1
	for name, c := range map[string]struct {
		had, replaced string
		want          []int32
	}{
		"no protocol":          {"-/80/30055", "-/80/0", []int32{30055}},
		"with protocol":        {"-/80/30055", "-/80/0/TCP", []int32{30055}},
		"another number":       {"a/80/30056 b/81/30057", "a/8080/0/TCP b/81/0/TCP", []int32{30056, 30057}},
		"the other's port":     {"a/80/30056 b/81/30057", "a/80/0/TCP b/81/30056/TCP", []int32{fresh, 30056}},
		"swapped":              {"a/80/30056 b/81/30057", "a/80/30057 b/81/30056", []int32{30057, 30056}},
		"another name":         {"a/80/30056 b/81/30057", "c/80/0 b/81/0", []int32{30056, 30057}},
		"names and numbers":    {"a/80/30056 b/81/30057", "a/81/0 b/80/0", []int32{30056, 30057}},
		"one unnamed, renamed": {"-/80/30055", "web/80/0 more/81/0", []int32{30055, fresh}},
		"two protocols":        {"a/53/30053/UDP b/53/30053/TCP", "a/53/0/UDP b/53/0/TCP", []int32{30053, 30053}},
		"named anew":           {"-/80/30055", "-/80/30099", []int32{30099}},
		"a new port":           {"a/80/30056", "new/79/0 a/80/0", []int32{fresh, 30056}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, registry.Options{})
			services := client.For[*corev1.Service](f)
			service := newService("s")
			service.Spec.Type, service.Spec.Ports = corev1.ServiceTypeNodePort, ports(t, c.had)
			must(services.Create(f.ctx, service))(t)
			replaced := service.DeepCopy()
			replaced.Spec.Ports = ports(t, c.replaced)
			got := must(services.Update(f.ctx, replaced))(t)
			for i, want := range c.want {
				port := got.Spec.Ports[i].NodePort
				if want == fresh {
					for j := range got.Spec.Ports {
						if j != i && got.Spec.Ports[j].NodePort == port || port == 0 || strings.Contains(c.had, fmt.Sprint(port)) {
							t.Errorf("port %d has %d, want a fresh one", i, port)
						}
					}
				} else if port != want {
					t.Errorf("port %d has %d, want %d", i, port, want)
				}
			}
			// What the service doesn't hold any more is free for others, and nothing else is.
			for _, had := range ports(t, c.had) {
				other := newService("other")
				other.Spec.Type, other.Spec.Ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{had}
				_, err := services.Create(f.ctx, other)
				held := false
				for _, port := range got.Spec.Ports {
					held = held || port.NodePort == had.NodePort
				}
				if held != apierrors.IsInvalid(err) {
					t.Errorf("another service asks for %d, which is held: %v; answer %v", had.NodePort, held, err)
				}
				if err == nil {
					if err := services.Delete(f.ctx, "default", "other", metav1.DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// kubectl apply and its strategic merge know a service's ports by their number: with another number an unnamed port is
// to them one port less and one more.
func TestAppliedNumberOfAnUnnamedPortKeepsTheNodePort(t *testing.T) {
	f := newFixture(t, registry.Options{})
	resource := corev1.SchemeGroupVersion.WithResource("services")
	services := client.For[*corev1.Service](f)
	service := newService("s")
	service.Spec.Type, service.Spec.Ports = corev1.ServiceTypeNodePort, ports(t, "-/80/30055")
	must(services.Create(f.ctx, service))(t)
	merge := `{"spec":{"$setElementOrder/ports":[{"port":81}],"ports":[{"port":81,"targetPort":80},{"$patch":"delete","port":80}]}}`
	patched := must(f.Patch(f.ctx, resource, "default", "s", "", types.StrategicMergePatchType, []byte(merge), metav1.PatchOptions{}))(t).(*corev1.Service)
	if port := patched.Spec.Ports[0]; len(patched.Spec.Ports) != 1 || port.Port != 81 || port.NodePort != 30055 {
		t.Errorf("kubectl apply: %+v", patched.Spec.Ports)
	}

	apply := `{"apiVersion":"v1","kind":"Service","metadata":{"name":"applied"},"spec":{"type":"NodePort","ports":[{"port":%d,"protocol":"TCP"}]}}`
	opts := metav1.PatchOptions{FieldManager: "test"}
	first := must(f.Patch(f.ctx, resource, "default", "applied", "", types.ApplyPatchType, fmt.Appendf(nil, apply, 80), opts))(t).(*corev1.Service)
	second := must(f.Patch(f.ctx, resource, "default", "applied", "", types.ApplyPatchType, fmt.Appendf(nil, apply, 81), opts))(t).(*corev1.Service)
	if a, b := first.Spec.Ports[0].NodePort, second.Spec.Ports[0].NodePort; a != b || a == 0 || len(second.Spec.Ports) != 1 {
		t.Errorf("apply: node port %d became %d", a, b)
	}
}

func TestTypeOfAServiceDecidesWhatItHolds(t *testing.T) {
	f := newFixture(t, registry.Options{NodePorts: registry.PortRange{First: 30000, Last: 30001}})
	services := client.For[*corev1.Service](f)
	balancer := newService("s")
	balancer.Spec.Type = corev1.ServiceTypeLoadBalancer
	balancer.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	balancer.Spec.LoadBalancerClass = ptr.To("example.com/lb")
	made := must(services.Create(f.ctx, balancer))(t)
	if made.Spec.HealthCheckNodePort == 0 || made.Spec.HealthCheckNodePort == made.Spec.Ports[0].NodePort {
		t.Fatalf("node port %d, health check on %d", made.Spec.Ports[0].NodePort, made.Spec.HealthCheckNodePort)
	}
	kept := must(services.Update(f.ctx, balancer))(t)
	if kept.Spec.HealthCheckNodePort != made.Spec.HealthCheckNodePort || kept.Spec.Ports[0].NodePort != made.Spec.Ports[0].NodePort || kept.Spec.ClusterIP != made.Spec.ClusterIP {
		t.Errorf("%+v became %+v", made.Spec, kept.Spec)
	}

	// The whole object comes back with another type, as kubectl edit and patch send it.
	plain := kept.DeepCopy()
	plain.Spec.Type = corev1.ServiceTypeClusterIP
	plain = must(services.Update(f.ctx, plain))(t)
	if spec := plain.Spec; spec.HealthCheckNodePort != 0 || spec.Ports[0].NodePort != 0 || spec.ExternalTrafficPolicy != "" ||
		spec.AllocateLoadBalancerNodePorts != nil || spec.LoadBalancerClass != nil || spec.ClusterIP != made.Spec.ClusterIP {
		t.Errorf("as ClusterIP: %+v", spec)
	}
	two := newService("two") // for which both ports have to be free
	two.Spec.Type, two.Spec.Ports = corev1.ServiceTypeNodePort, ports(t, "a/1/0 b/2/0")
	must(services.Create(f.ctx, two))(t)

	name := plain.DeepCopy()
	name.Spec.Type, name.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	name = must(services.Update(f.ctx, name))(t)
	if name.Spec.ClusterIP != "" || len(name.Spec.ClusterIPs) > 0 || name.Spec.IPFamilies != nil {
		t.Errorf("as ExternalName: %+v", name.Spec)
	}
	back := name.DeepCopy()
	back.Spec.Type = corev1.ServiceTypeClusterIP
	if back = must(services.Update(f.ctx, back))(t); back.Spec.ClusterIP == "" {
		t.Errorf("as ClusterIP again: %+v", back.Spec)
	}
}

func TestFieldsThatAServiceCantHaveAreRefused(t *testing.T) {
	f := newFixture(t, registry.Options{})
	services := client.For[*corev1.Service](f)
	for name, change := range map[string]func(*corev1.ServiceSpec){
		"spec.externalTrafficPolicy":         func(s *corev1.ServiceSpec) { s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal },
		"spec.healthCheckNodePort":           func(s *corev1.ServiceSpec) { s.HealthCheckNodePort = 30000 },
		"spec.loadBalancerClass":             func(s *corev1.ServiceSpec) { s.LoadBalancerClass = ptr.To("example.com/lb") },
		"spec.allocateLoadBalancerNodePorts": func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = ptr.To(false) },
		"spec.ipFamilies[0]":                 func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} },
		"spec.ipFamilyPolicy":                func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack) },
		"spec.clusterIPs":                    func(s *corev1.ServiceSpec) { s.ClusterIPs = []string{"10.43.0.9", "fd00::1"} },
		"spec.clusterIPs[0]": func(s *corev1.ServiceSpec) {
			s.Type, s.ClusterIP = corev1.ServiceTypeNodePort, corev1.ClusterIPNone
		},
	} {
		service := newService("s")
		change(&service.Spec)
		if _, err := services.Create(f.ctx, service); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
