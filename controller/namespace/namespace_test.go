package namespace

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

func fill(t *testing.T, cluster client.Objects, finalizers ...string) {
	t.Helper()
	looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
	looptest.Create(t, cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "pod"},
		Spec: corev1.PodSpec{NodeName: "a"}})
	looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "config", Finalizers: finalizers}})
	looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "config"}})
	if err := client.For[*corev1.Namespace](cluster).Delete(t.Context(), "", "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestEmptiesAndLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(3, time.Second)})
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		fill(t, cluster)
		looptest.Settle(2 * time.Minute)
		if _, err := client.For[*corev1.Namespace](cluster).Get(t.Context(), "", "team"); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace is still there: %v", err)
		}
		if left := len(looptest.List[*corev1.Pod](t, cluster, "team")) + len(looptest.List[*corev1.ConfigMap](t, cluster, "team")); left != 0 {
			t.Errorf("%d objects are left behind", left)
		}
		if n := len(looptest.List[*corev1.ConfigMap](t, cluster, "other")); n != 1 {
			t.Errorf("the other namespace has %d objects, want 1", n)
		}
	})
}

func TestSaysWhatHoldsItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.RunPods(t, cluster, looptest.Always(time.Second))
		fill(t, cluster, "test/hold")
		looptest.Settle(time.Minute)
		conditions := map[corev1.NamespaceConditionType]corev1.NamespaceCondition{}
		for _, condition := range looptest.Get[*corev1.Namespace](t, cluster, "", "team").Status.Conditions {
			conditions[condition.Type] = condition
		}
		if got := conditions[corev1.NamespaceContentRemaining].Message; got != "Some resources are remaining: configmaps has 1 resource instances" {
			t.Errorf("remaining content: %q", got)
		}
		if got := conditions[corev1.NamespaceFinalizersRemaining].Message; got != "Some content in the namespace has finalizers remaining: test/hold in 1 resource instances" {
			t.Errorf("remaining finalizers: %q", got)
		}
		looptest.Change(t, cluster, "team", "config", func(c *corev1.ConfigMap) { c.Finalizers = nil })
		looptest.Settle(time.Minute)
		if _, err := client.For[*corev1.Namespace](cluster).Get(t.Context(), "", "team"); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace is still there: %v", err)
		}
	})
}

// A namespace that is made anew under the name of one that has gone keeps what is in it, though the cache still shows the
// old one as going.
func TestSuccessorOfANamespaceKeepsItsContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		late := func(resource string) time.Duration {
			if resource == "namespaces" {
				return time.Minute
			}
			return 0
		}
		start(t, &looptest.Stale{Objects: cluster, Delay: late})
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
		if err := client.For[*corev1.Namespace](cluster).Delete(t.Context(), "", "team", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Hour)
		for {
			_, err := client.For[*corev1.Namespace](cluster).Get(t.Context(), "", "team")
			if apierrors.IsNotFound(err) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the first namespace is not let go")
			}
			looptest.Settle(time.Second)
		}
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
		looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "new"}})
		looptest.Create(t, cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "new"}})
		looptest.Settle(time.Hour)
		looptest.Get[*corev1.ConfigMap](t, cluster, "team", "new")
		looptest.Get[*corev1.Pod](t, cluster, "team", "new")
	})
}
