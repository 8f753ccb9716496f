package deployment

import (
	"maps"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/controller/looptest"
)

// sized is a set that was sized when its deployment asked for desired pods, at most most.
func sized(name string, age int, s size, desired, most int32) *appsv1.ReplicaSet {
	set := looptest.ReplicaSet(name, s.replicas)
	set.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000-age), 0))
	set.Spec.Template = looptest.Template("web", name)
	set.Annotations = map[string]string{desiredAnnotation: strconv.Itoa(int(desired)), maxAnnotation: strconv.Itoa(int(most))}
	set.Status = appsv1.ReplicaSetStatus{Replicas: s.replicas + s.leaving, AvailableReplicas: s.available}
	if s.busy {
		set.Generation = 1
	}
	return set
}

func TestProportionalScaling(t *testing.T) {
	tests := []struct {
		name     string
		replicas int32
		sets     []*appsv1.ReplicaSet
		want     plan
	}{
		{"one set takes it all", 7, []*appsv1.ReplicaSet{sized("image:1", 1, size{replicas: 3, available: 3}, 3, 4)}, plan{"image:1": 7}},
		{"none has pods: the current one", 2, []*appsv1.ReplicaSet{sized("old", 2, size{}, 0, 0), sized("image:1", 1, size{}, 0, 0)}, plan{"image:1": 2}},
		{"grows in proportion", 20, []*appsv1.ReplicaSet{
			sized("old", 2, size{replicas: 8, available: 8}, 10, 11), sized("image:1", 1, size{replicas: 3, available: 3}, 10, 11)},
			plan{"old": 15, "image:1": 6}},
		{"shrinks in proportion", 5, []*appsv1.ReplicaSet{
			sized("old", 2, size{replicas: 8, available: 8}, 10, 11), sized("image:1", 1, size{replicas: 3, available: 3}, 10, 11)},
			plan{"old": 4, "image:1": 2}},
		{"keeps what is available", 5, []*appsv1.ReplicaSet{
			sized("old", 2, size{replicas: 5, available: 5}, 10, 11), sized("image:1", 1, size{replicas: 6}, 10, 11)},
			plan{"old": 5, "image:1": 3}},
		{"to nothing", 0, []*appsv1.ReplicaSet{
			sized("old", 2, size{replicas: 5, available: 5}, 10, 11), sized("image:1", 1, size{replicas: 6}, 10, 11)},
			plan{"old": 0, "image:1": 0}},
		{"the current one does it all", 3, []*appsv1.ReplicaSet{
			sized("old", 2, size{replicas: 1, available: 1}, 4, 5), sized("image:1", 1, size{replicas: 3, available: 3}, 4, 5)},
			plan{"old": 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRollout(web(test.replicas, "1", "0"), test.sets)
			if got := r.proportional(); !maps.Equal(got, test.want) {
				t.Errorf("plan %v, want %v", got, test.want)
			}
		})
	}
}

// A set that was lowered and raised before it heard of either still reported the pods that it was deleting, and
// others were taken away in their stead.
func TestBusySetIsNotRaised(t *testing.T) {
	set := sized("image:1", 1, size{replicas: 2, available: 8, busy: true}, 2, 3)
	r := newRollout(web(6, "1", "0"), []*appsv1.ReplicaSet{set})
	if next := r.proportional(); !r.raisesBusy(next) {
		t.Errorf("plan %v would be carried out", next)
	}
	set.Status.ObservedGeneration = set.Generation
	if next := r.proportional(); r.raisesBusy(next) || next.change(set) != 4 {
		t.Errorf("plan %v isn't carried out though the set has heard", next)
	}
}

func TestBounds(t *testing.T) {
	tests := []struct {
		replicas           int32
		surge, unavailable string
		up, down           int32
	}{
		{3, "25%", "25%", 1, 0},
		{10, "25%", "25%", 3, 2},
		{10, "0", "0%", 0, 1},
		{1, "0", "100%", 0, 1},
		{2, "1", "5", 1, 2},
	}
	for _, test := range tests {
		up, down := newRollout(web(test.replicas, test.surge, test.unavailable), nil).bounds()
		if up != test.up || down != test.down {
			t.Errorf("%d with %s and %s: %d and %d, want %d and %d", test.replicas, test.surge, test.unavailable, up, down, test.up, test.down)
		}
	}
	d := web(4, "1", "1")
	d.Spec.Strategy = appsv1.DeploymentStrategy{}
	d.Spec.Replicas = ptr.To[int32](4)
	if up, down := newRollout(d, nil).bounds(); up != 1 || down != 1 {
		t.Errorf("without a strategy: %d and %d, want a quarter each", up, down)
	}
}
