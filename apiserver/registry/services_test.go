package registry_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

func newService(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func TestServicesGetAddresses(t *testing.T) {
	f := newFixture(t, registry.Options{})
	services := client.For[*corev1.Service](f)
	first := must(services.Create(f.ctx, newService("first")))(t)
	addr := must(netip.ParseAddr(first.Spec.ClusterIP))(t)
	if !netip.MustParsePrefix("10.43.0.0/16").Contains(addr) || len(first.Spec.ClusterIPs) != 1 {
		t.Errorf("address %s", addr)
	}
	thief := newService("thief")
	thief.Spec.ClusterIP = first.Spec.ClusterIP
	if _, err := services.Create(f.ctx, thief); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("an address that is taken: %v", err)
	}
	outside := newService("outside")
	outside.Spec.ClusterIP = "192.0.2.1"
	if _, err := services.Create(f.ctx, outside); !apierrors.IsInvalid(err) {
		t.Errorf("an address out of range: %v", err)
	}
	headless := newService("headless")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if got := must(services.Create(f.ctx, headless))(t); got.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("headless service has %s", got.Spec.ClusterIP)
	}
	change := first.DeepCopy()
	change.Spec.ClusterIP, change.Spec.ClusterIPs, change.ResourceVersion = "", nil, ""
	change.Spec.Ports[0].Port = 81
	if got := must(services.Update(f.ctx, change))(t); got.Spec.ClusterIP != first.Spec.ClusterIP {
		t.Errorf("an update took the address: %s", got.Spec.ClusterIP)
	}
	if err := services.Delete(f.ctx, "default", "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	must(services.Create(f.ctx, thief))(t)
}

func TestServicesGetNodePorts(t *testing.T) {
	f := newFixture(t, registry.Options{NodePorts: registry.PortRange{First: 30000, Last: 30001}})
	services := client.For[*corev1.Service](f)
	newNodePort := func(name string) *corev1.Service {
		s := newService(name)
		s.Spec.Type = corev1.ServiceTypeNodePort
		return s
	}
	a := must(services.Create(f.ctx, newNodePort("a")))(t).DeepCopy()
	b := must(services.Create(f.ctx, newNodePort("b")))(t)
	if a.Spec.Ports[0].NodePort == b.Spec.Ports[0].NodePort || a.Spec.Ports[0].NodePort < 30000 {
		t.Errorf("ports %d and %d", a.Spec.Ports[0].NodePort, b.Spec.Ports[0].NodePort)
	}
	if _, err := services.Create(f.ctx, newNodePort("c")); err == nil {
		t.Error("a third port was found in a range of two")
	}
	a.Spec.Type = corev1.ServiceTypeClusterIP
	if got := must(services.Update(f.ctx, a))(t); got.Spec.Ports[0].NodePort != 0 {
		t.Error("the port was kept")
	}
	must(services.Create(f.ctx, newNodePort("c")))(t)
}

// TestAddressesAreUnique lets many services ask for the few addresses of a small range at once.
func TestAddressesAreUnique(t *testing.T) {
	f := newFixture(t, registry.Options{ServiceCIDR: netip.MustParsePrefix("10.9.0.0/27")})
	services := client.For[*corev1.Service](f)
	const free = 32 - 3 // the network's, the broadcast's and the kubernetes service's own are not
	var made sync.Map
	var group sync.WaitGroup
	for i := range free {
		group.Go(func() {
			s, err := services.Create(f.ctx, newService(fmt.Sprintf("s%d", i)))
			if err != nil {
				t.Error(err)
				return
			}
			if other, taken := made.LoadOrStore(s.Spec.ClusterIP, s.Name); taken {
				t.Errorf("%s and %s both have %s", s.Name, other, s.Spec.ClusterIP)
			}
		})
	}
	group.Wait()
	if _, err := services.Create(f.ctx, newService("one-more")); err == nil {
		t.Error("an address was found in a full range")
	}
}

func TestBootstrapFollowsTheMasters(t *testing.T) {
	f := newFixture(t, registry.Options{})
	slices := client.For[*discoveryv1.EndpointSlice](f)
	addresses := func() (found []string) {
		list, _, err := slices.List(f.ctx, "default", metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
		if err != nil {
			t.Fatal(err)
		}
		for _, slice := range list {
			for _, endpoint := range slice.Endpoints {
				found = append(found, fmt.Sprintf("%s:%d", endpoint.Addresses[0], *slice.Ports[0].Port))
			}
		}
		return found
	}
	for _, step := range []struct{ masters, want string }{
		{"192.0.2.1:6443 192.0.2.2:6443", "[192.0.2.1:6443 192.0.2.2:6443]"},
		{"192.0.2.2:6443", "[192.0.2.2:6443]"},
		{"192.0.2.2:6443 192.0.2.3:7443", "[192.0.2.2:6443 192.0.2.3:7443]"},
		{"192.0.2.4:6443", "[192.0.2.4:6443]"},
	} {
		var masters []netip.AddrPort
		for _, m := range strings.Fields(step.masters) {
			masters = append(masters, netip.MustParseAddrPort(m))
		}
		if err := f.Bootstrap(f.ctx, masters); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(addresses()); got != step.want {
			t.Errorf("masters %s: endpoints %s", step.masters, got)
		}
	}
	must(client.For[*corev1.ServiceAccount](f).Get(f.ctx, "kube-system", "default"))(t)
}
