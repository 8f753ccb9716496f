package deployment

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
	"github.com/ctlplane/ctlplane/controller/replicaset"
)

// web is a deployment of app web with bounds that may be nil.
func web(replicas int32, surge, unavailable string) *appsv1.Deployment {
	up, down := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.To(replicas),
			Selector:                &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template:                looptest.Template("web", "image:1"),
			ProgressDeadlineSeconds: ptr.To[int32](600),
			RevisionHistoryLimit:    ptr.To[int32](10),
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &up, MaxUnavailable: &down},
			},
		},
	}
}

// start runs the controllers of deployments and replica sets on what objects shows of cluster.
func start(t *testing.T, objects client.Objects) {
	informers := client.NewInformers(objects)
	looptest.Start(t, informers,
		New(informers, objects, loop.Options{Workers: 2}),
		replicaset.New(informers, objects, loop.Options{Workers: 2}))
}

func setImage(t *testing.T, cluster client.Objects, image string) {
	t.Helper()
	looptest.Change(t, cluster, "default", "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

func deployment(t *testing.T, cluster client.Objects) *appsv1.Deployment {
	t.Helper()
	return looptest.Get[*appsv1.Deployment](t, cluster, "default", "web")
}

// sets is the replica sets by image, which tells them apart in these tests.
func sets(t *testing.T, cluster client.Objects) map[string]*appsv1.ReplicaSet {
	t.Helper()
	found := map[string]*appsv1.ReplicaSet{}
	for _, set := range looptest.List[*appsv1.ReplicaSet](t, cluster, "default") {
		image := set.Spec.Template.Spec.Containers[0].Image
		if found[image] != nil {
			t.Errorf("two sets for %s: %s and %s", image, found[image].Name, set.Name)
		}
		found[image] = set
	}
	return found
}

func progressing(d *appsv1.Deployment) string {
	c := conditions{list: d.Status.Conditions}
	if found := c.get(appsv1.DeploymentProgressing); found != nil {
		return string(found.Status) + " " + found.Reason
	}
	return ""
}

func wantDone(t *testing.T, cluster client.Objects, image string, replicas int32) {
	t.Helper()
	d := deployment(t, cluster)
	s := d.Status
	if s.Replicas != replicas || s.UpdatedReplicas != replicas || s.AvailableReplicas != replicas || s.UnavailableReplicas != 0 {
		t.Errorf("status %+v, want %d replicas, all updated and available", s, replicas)
	}
	if s.ObservedGeneration != d.Generation {
		t.Errorf("observed generation %d of %d", s.ObservedGeneration, d.Generation)
	}
	if got := progressing(d); got != "True NewReplicaSetAvailable" {
		t.Errorf("progressing is %q", got)
	}
	for name, set := range sets(t, cluster) {
		want := int32(0)
		if name == image {
			want = replicas
		}
		if *set.Spec.Replicas != want {
			t.Errorf("the set of %s has %d replicas, want %d", name, *set.Spec.Replicas, want)
		}
	}
}

func TestRollsOutAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		looptest.Create(t, cluster, web(3, "25%", "25%"))
		looptest.Settle(time.Minute)
		wantDone(t, cluster, "image:1", 3)
		set := sets(t, cluster)["image:1"]
		hash := set.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		if set.Name != "web-"+hash || set.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash ||
			set.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
			t.Errorf("the hash %q isn't in name, selector and template of %s", hash, set.Name)
		}
		setImage(t, cluster, "image:2")
		looptest.Settle(time.Minute)
		wantDone(t, cluster, "image:2", 3)
		if got := deployment(t, cluster).Annotations[revisionAnnotation]; got != "2" {
			t.Errorf("revision %s, want 2", got)
		}
		setImage(t, cluster, "image:1")
		looptest.Settle(time.Minute)
		wantDone(t, cluster, "image:1", 3)
		set = sets(t, cluster)["image:1"]
		if set.Annotations[revisionAnnotation] != "3" || set.Annotations[historyAnnotation] != "1" {
			t.Errorf("annotations %v, want revision 3 with history 1", set.Annotations)
		}
		if got := deployment(t, cluster).Annotations[revisionAnnotation]; got != "3" {
			t.Errorf("revision %s, want 3", got)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		d := web(1, "1", "0")
		d.Spec.RevisionHistoryLimit = ptr.To[int32](2)
		looptest.Create(t, cluster, d)
		for i := range 5 {
			setImage(t, cluster, fmt.Sprintf("image:%d", i+1))
			looptest.Settle(time.Minute)
		}
		found := sets(t, cluster)
		if len(found) != 3 || found["image:3"] == nil || found["image:4"] == nil || found["image:5"] == nil {
			t.Errorf("%d sets left, want those of the images 3 to 5", len(found))
		}
	})
}

func TestStuckRolloutIsReportedAndKeepsTheOldPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, func(pod *corev1.Pod) (time.Duration, bool) {
			return time.Second, pod.Spec.Containers[0].Image != "broken"
		})
		looptest.Create(t, cluster, web(4, "1", "1"))
		looptest.Settle(time.Minute)
		setImage(t, cluster, "broken")
		looptest.Settle(9 * time.Minute)
		if got := progressing(deployment(t, cluster)); got != "True ReplicaSetUpdated" {
			t.Errorf("after nine minutes progressing is %q", got)
		}
		looptest.Settle(2 * time.Minute)
		d := deployment(t, cluster)
		if got := progressing(d); got != "False ProgressDeadlineExceeded" {
			t.Errorf("after eleven minutes progressing is %q", got)
		}
		if d.Status.AvailableReplicas != 3 {
			t.Errorf("%d replicas available, want 3 old ones", d.Status.AvailableReplicas)
		}
		setImage(t, cluster, "image:2")
		looptest.Settle(time.Minute)
		wantDone(t, cluster, "image:2", 4)
	})
}

func TestPausedDeploymentScalesButDoesNotRoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		looptest.Create(t, cluster, web(2, "1", "0"))
		looptest.Settle(time.Minute)
		looptest.Change(t, cluster, "default", "web", func(d *appsv1.Deployment) {
			d.Spec.Paused = true
			d.Spec.Replicas = ptr.To[int32](4)
			d.Spec.Template.Spec.Containers[0].Image = "image:2"
		})
		looptest.Settle(time.Minute)
		found := sets(t, cluster)
		if len(found) != 1 || *found["image:1"].Spec.Replicas != 4 {
			t.Errorf("%d sets with %d replicas, want one of image:1 with 4", len(found), *found["image:1"].Spec.Replicas)
		}
		if got := progressing(deployment(t, cluster)); got != "Unknown DeploymentPaused" {
			t.Errorf("progressing is %q", got)
		}
		looptest.Change(t, cluster, "default", "web", func(d *appsv1.Deployment) { d.Spec.Paused = false })
		looptest.Settle(time.Minute)
		wantDone(t, cluster, "image:2", 4)
	})
}

func TestRecreateNeverRunsOldAndNewTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		d := web(3, "0", "1")
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		looptest.Create(t, cluster, d)
		looptest.Settle(time.Minute)
		looptest.OnPods(t, cluster, func(pods []*corev1.Pod) {
			var images []string
			for _, pod := range pods {
				images = append(images, pod.Spec.Containers[0].Image)
			}
			slices.Sort(images)
			if len(slices.Compact(images)) > 1 {
				t.Errorf("pods of two templates at once: %v", images)
			}
		})
		setImage(t, cluster, "image:2")
		looptest.Settle(10 * time.Minute)
		wantDone(t, cluster, "image:2", 3)
	})
}

// Two templates with one hash: the second gets another name, and the count is kept.
func TestHashCollision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		d := web(1, "1", "0")
		hash, err := templateHash(&d.Spec.Template, nil)
		if err != nil {
			t.Fatal(err)
		}
		other := looptest.ReplicaSet("web-"+hash, 0)
		looptest.Create(t, cluster, other)
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		looptest.Create(t, cluster, d)
		looptest.Settle(time.Minute)
		got := deployment(t, cluster)
		if ptr.Deref(got.Status.CollisionCount, 0) != 1 || got.Status.AvailableReplicas != 1 {
			t.Errorf("collisions %v, available %d; want 1 and 1", ptr.Deref(got.Status.CollisionCount, 0), got.Status.AvailableReplicas)
		}
	})
}
