package endpointslice

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/controller/looptest"
)

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "service"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
}

// pod is the i-th pod of app web, ready, with its port http at the given number.
func pod(i int, port int32) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-%03d", i), UID: types.UID(fmt.Sprint(i)),
			Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port}}}}},
	}
	looptest.MakeReady(pod, "node", metav1.Now())
	pod.Status.PodIP = fmt.Sprintf("10.42.%d.%d", i/250, i%250)
	return pod
}

func TestServingIsFalseForWhatIsNotReady(t *testing.T) {
	tests := []struct {
		name                        string
		change                      func(*corev1.Service, *corev1.Pod)
		endpoints                   int
		ready, serving, terminating bool
	}{
		{"ready", func(*corev1.Service, *corev1.Pod) {}, 1, true, true, false},
		{"not ready", func(_ *corev1.Service, p *corev1.Pod) { looptest.SetReady(p, corev1.ConditionFalse, metav1.Now()) }, 1, false, false, false},
		{"not ready but published", func(s *corev1.Service, p *corev1.Pod) {
			s.Spec.PublishNotReadyAddresses = true
			looptest.SetReady(p, corev1.ConditionFalse, metav1.Now())
		}, 1, true, false, false},
		{"published and being deleted, not ready", func(s *corev1.Service, p *corev1.Pod) {
			s.Spec.PublishNotReadyAddresses = true
			p.DeletionTimestamp = ptr.To(metav1.Now())
			looptest.SetReady(p, corev1.ConditionFalse, metav1.Now())
		}, 1, true, false, true},
		{"not ready and being deleted", func(_ *corev1.Service, p *corev1.Pod) {
			p.DeletionTimestamp = ptr.To(metav1.Now())
			looptest.SetReady(p, corev1.ConditionFalse, metav1.Now())
		}, 1, false, false, true},
		{"being deleted", func(_ *corev1.Service, p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }, 1, false, true, true},
		{"ended", func(_ *corev1.Service, p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, 0, false, false, false},
		{"without an address", func(_ *corev1.Service, p *corev1.Pod) { p.Status.PodIP = "" }, 0, false, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, p := service(), pod(1, 8080)
			test.change(s, p)
			groups := groupsOf(s, []*corev1.Pod{p})
			if len(groups) != test.endpoints {
				t.Fatalf("%d groups, want %d", len(groups), test.endpoints)
			}
			if test.endpoints == 0 {
				return
			}
			got := groups[0].endpoints[0]
			if *got.Conditions.Ready != test.ready || *got.Conditions.Serving != test.serving || *got.Conditions.Terminating != test.terminating {
				t.Errorf("ready %v, serving %v, terminating %v", *got.Conditions.Ready, *got.Conditions.Serving, *got.Conditions.Terminating)
			}
			if *got.NodeName != "node" || got.TargetRef.Name != p.Name || *groups[0].ports[0].Port != 8080 {
				t.Errorf("endpoint %+v with ports %+v", got, groups[0].ports)
			}
		})
	}
}

func TestPortsThatDifferMakeSlicesThatDiffer(t *testing.T) {
	s := service()
	s.Spec.Ports = append(s.Spec.Ports,
		corev1.ServicePort{Name: "number", Port: 81, TargetPort: intstr.FromInt32(9000)},
		corev1.ServicePort{Name: "same", Port: 82},
		corev1.ServicePort{Name: "absent", Port: 83, TargetPort: intstr.FromString("absent")})
	got := pack(s, nil, groupsOf(s, []*corev1.Pod{pod(1, 8080), pod(2, 8081)}))
	if len(got.create) != 2 {
		t.Fatalf("%d slices, want 2", len(got.create))
	}
	for i, slice := range got.create {
		var numbers []int32
		for _, port := range slice.Ports {
			numbers = append(numbers, *port.Port)
		}
		if want := []int32{int32(8080 + i), 9000, 82}; fmt.Sprint(numbers) != fmt.Sprint(want) {
			t.Errorf("ports %v, want %v", numbers, want)
		}
	}
}

// After any change of the pods the slices hold each endpoint once and no more than they may, and packing
// what is packed changes nothing.
func TestPackInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := service()
		var existing []*discoveryv1.EndpointSlice
		names := 0
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			from, n := rapid.IntRange(0, 300).Draw(t, "from"), rapid.IntRange(0, 300).Draw(t, "n")
			var pods []*corev1.Pod
			for i := from; i < from+n; i++ {
				pods = append(pods, pod(i, 8080+int32(i%2)))
			}
			groups := groupsOf(s, pods)
			existing = apply(existing, pack(s, existing, groups), &names)
			seen := map[types.UID]bool{}
			for _, slice := range existing {
				if len(slice.Endpoints) > perSlice {
					t.Fatalf("a slice has %d endpoints", len(slice.Endpoints))
				}
				for _, endpoint := range slice.Endpoints {
					if seen[endpoint.TargetRef.UID] {
						t.Fatalf("%s is in two places", endpoint.TargetRef.UID)
					}
					seen[endpoint.TargetRef.UID] = true
				}
			}
			if len(seen) != n || len(existing) == 0 {
				t.Fatalf("%d endpoints in %d slices, want %d", len(seen), len(existing), n)
			}
			again := pack(s, existing, groups)
			if len(again.create)+len(again.update)+len(again.remove) > 0 {
				t.Fatalf("packing again changes %+v", again)
			}
		}
	})
}

func apply(existing []*discoveryv1.EndpointSlice, c changes, names *int) []*discoveryv1.EndpointSlice {
	gone := map[string]bool{}
	for _, slice := range append(c.update, c.remove...) {
		gone[slice.Name] = true
	}
	var next []*discoveryv1.EndpointSlice
	for _, slice := range existing {
		if !gone[slice.Name] {
			next = append(next, slice)
		}
	}
	for _, slice := range c.create {
		*names++
		slice.Name = fmt.Sprintf("web-%05d", *names)
		next = append(next, slice)
	}
	return append(next, c.update...)
}

// One pod among many that changes costs one slice's update.
func TestOneChangeIsOneUpdate(t *testing.T) {
	s := service()
	var pods []*corev1.Pod
	for i := range 250 {
		pods = append(pods, pod(i, 8080))
	}
	names := 0
	existing := apply(nil, pack(s, nil, groupsOf(s, pods)), &names)
	looptest.SetReady(pods[120], corev1.ConditionFalse, metav1.Now())
	got := pack(s, existing, groupsOf(s, pods))
	if len(got.update) != 1 || len(got.create) != 0 || len(got.remove) != 0 {
		t.Errorf("%d updates, %d creations, %d removals; want one update", len(got.update), len(got.create), len(got.remove))
	}
}
