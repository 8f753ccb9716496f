package endpointslice

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func start(t *testing.T, objects client.Objects) {
	informers := client.NewInformers(objects)
	looptest.Start(t, informers, New(informers, objects, loop.Options{}))
}

func createPod(t *testing.T, cluster client.Objects, i int) {
	p := pod(i, 8080)
	looptest.Create(t, cluster, p)
	looptest.Change(t, cluster, "default", p.Name, func(now *corev1.Pod) {
		now.Spec.NodeName = "node"
		now.Status = p.Status
	})
}

func only(t *testing.T, cluster client.Objects) *discoveryv1.EndpointSlice {
	t.Helper()
	slices := looptest.List[*discoveryv1.EndpointSlice](t, cluster, "default")
	if len(slices) != 1 {
		t.Fatalf("%d slices, want 1", len(slices))
	}
	return slices[0]
}

func TestFollowsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(1, time.Second)})
		s := looptest.Create(t, cluster, service())
		looptest.Settle(time.Minute)
		if slice := only(t, cluster); len(slice.Endpoints) != 0 || slice.Labels[discoveryv1.LabelServiceName] != "web" ||
			!metav1.IsControlledBy(slice, s) {
			t.Errorf("slice %+v, want an empty one of the service", slice)
		}
		for i := range 3 {
			createPod(t, cluster, i)
		}
		looptest.Settle(time.Minute)
		if slice := only(t, cluster); len(slice.Endpoints) != 3 || *slice.Ports[0].Port != 8080 {
			t.Errorf("%d endpoints at %v, want 3 at 8080", len(slice.Endpoints), slice.Ports)
		}
		looptest.Change(t, cluster, "default", "web-001", func(p *corev1.Pod) { p.Labels["app"] = "other" })
		if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", "web-002", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(time.Minute)
		slice := only(t, cluster)
		if len(slice.Endpoints) != 2 || slice.Endpoints[0].TargetRef.Name != "web-000" || !*slice.Endpoints[0].Conditions.Ready {
			t.Errorf("endpoints %+v, want web-000 and the terminating web-002", slice.Endpoints)
		}
		if last := slice.Endpoints[1]; !*last.Conditions.Terminating || *last.Conditions.Ready || !*last.Conditions.Serving {
			t.Errorf("conditions %+v, want terminating and serving", last.Conditions)
		}
	})
}

// Pods that come while the caches don't show the first slice yet don't get a second one.
func TestLateCachesMakeNoSecondSlice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		late := func(resource string) time.Duration {
			if resource == "endpointslices" {
				return 10 * time.Second
			}
			return 0
		}
		start(t, &looptest.Stale{Objects: cluster, Delay: late})
		looptest.Settle(time.Minute)
		looptest.Create(t, cluster, service())
		for i := range 3 {
			looptest.Settle(time.Second)
			createPod(t, cluster, i)
		}
		looptest.Settle(time.Second)
		if slice := only(t, cluster); len(slice.Endpoints) != 3 {
			t.Errorf("%d endpoints before the cache has seen the slice, want 3", len(slice.Endpoints))
		}
		looptest.Settle(time.Minute)
		if slice := only(t, cluster); len(slice.Endpoints) != 3 {
			t.Errorf("%d endpoints, want 3", len(slice.Endpoints))
		}
	})
}

func TestLeavesServicesWithoutSelectorAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		s := service()
		s.Spec.Selector = nil
		looptest.Create(t, cluster, s)
		looptest.Settle(time.Minute)
		if slices := looptest.List[*discoveryv1.EndpointSlice](t, cluster, "default"); len(slices) != 0 {
			t.Errorf("%d slices, want none", len(slices))
		}
	})
}

// A service that becomes a mere name has no endpoints any more, also if its pods stay.
func TestExternalNameHasNoSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(1, time.Second)})
		looptest.Create(t, cluster, service())
		createPod(t, cluster, 0)
		foreign := looptest.Create(t, cluster, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "foreign", Labels: map[string]string{
				discoveryv1.LabelServiceName: "web", discoveryv1.LabelManagedBy: "somebody"}},
			AddressType: discoveryv1.AddressTypeIPv4})
		looptest.Settle(time.Minute)
		if n := len(looptest.List[*discoveryv1.EndpointSlice](t, cluster, "default")); n != 2 {
			t.Fatalf("%d slices, want ours and the foreign one", n)
		}
		looptest.Change(t, cluster, "default", "web", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
		})
		looptest.Settle(time.Minute)
		if slice := only(t, cluster); slice.Name != foreign.Name {
			t.Errorf("slice %s of the service stays", slice.Name)
		}
		looptest.Change(t, cluster, "default", "web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
		looptest.Settle(time.Minute)
		if n := len(looptest.List[*discoveryv1.EndpointSlice](t, cluster, "default")); n != 2 {
			t.Errorf("%d slices after the service has pods again, want 2", n)
		}
	})
}
