package registry_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

func TestPodsThatWantWhatNobodyCanGiveAreRefused(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	for name, c := range map[string]struct {
		change func(*corev1.PodSpec)
		text   string
	}{
		"runtime class":     {func(s *corev1.PodSpec) { s.RuntimeClassName = ptr.To("gvisor") }, `RuntimeClass "gvisor" not found`},
		"overhead":          {func(s *corev1.PodSpec) { s.Overhead = corev1.ResourceList{"cpu": apiresource.MustParse("1")} }, "Pod Overhead set without"},
		"user namespace":    {func(s *corev1.PodSpec) { s.HostUsers = ptr.To(false) }, "hostUsers"},
		"unknown class":     {func(s *corev1.PodSpec) { s.PriorityClassName = "important" }, "no PriorityClass with name important was found"},
		"own priority":      {func(s *corev1.PodSpec) { s.Priority = ptr.To[int32](5) }, "the integer value of priority (5) must not be provided"},
		"own preemption":    {func(s *corev1.PodSpec) { s.PreemptionPolicy = ptr.To(corev1.PreemptNever) }, "the string value of PreemptionPolicy (Never)"},
		"ephemeral in spec": {func(s *corev1.PodSpec) { s.EphemeralContainers = []corev1.EphemeralContainer{{}} }, "cannot be set on create"},
	} {
		pod := newPod("p")
		c.change(&pod.Spec)
		if _, err := pods.Create(f.ctx, pod); err == nil || !strings.Contains(err.Error(), c.text) || !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	critical := newPod("critical")
	critical.Spec.PriorityClassName = "system-node-critical"
	if got := must(pods.Create(f.ctx, critical))(t); *got.Spec.Priority != 2000001000 {
		t.Errorf("the critical pod has priority %d", *got.Spec.Priority)
	}
}

func TestPodsGetTheirAccountsPullSecrets(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	secrets := []corev1.LocalObjectReference{{Name: "registry"}}
	accounts := client.For[*corev1.ServiceAccount](f)
	must(accounts.Create(f.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "builder"}, ImagePullSecrets: secrets}))(t)
	account := must(accounts.Get(f.ctx, "default", "default"))(t).DeepCopy()
	account.ImagePullSecrets = secrets
	must(accounts.Update(f.ctx, account))(t)
	if _, _, err := accounts.List(f.ctx, "default", metav1.ListOptions{}); err != nil { // now the cache has it
		t.Fatal(err)
	}
	for _, name := range []string{"builder", "default"} {
		pod := newPod(name)
		pod.Spec.ServiceAccountName = name
		if got := must(pods.Create(f.ctx, pod))(t); !slices.Equal(got.Spec.ImagePullSecrets, secrets) {
			t.Errorf("a pod of account %s pulls with %v", name, got.Spec.ImagePullSecrets)
		}
	}
	own := newPod("own")
	own.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
	if got := must(pods.Create(f.ctx, own))(t); !slices.Equal(got.Spec.ImagePullSecrets, own.Spec.ImagePullSecrets) {
		t.Errorf("a pod with secrets of its own pulls with %v", got.Spec.ImagePullSecrets)
	}
}

// Fields that are taken and do nothing are answered with a warning each: when they are set, not with every write after it.
func TestFieldsThatDoNothingAreAnsweredWithWarnings(t *testing.T) {
	f := newFixture(t, registry.Options{})
	var warnings []string
	ctx := registry.WithWarnings(f.ctx, func(text string) { warnings = append(warnings, text) })
	expect := func(step string, want ...string) {
		t.Helper()
		if len(warnings) != len(want) {
			t.Errorf("%s: warnings %q, want those of %q", step, warnings, want)
		}
		for i := range min(len(want), len(warnings)) {
			if !strings.HasPrefix(warnings[i], want[i]+": ") {
				t.Errorf("%s: warning %q, want one of %s", step, warnings[i], want[i])
			}
		}
		warnings = nil
	}
	deployments := client.For[*appsv1.Deployment](f)
	d := newDeployment("web", 1)
	d.Spec.Template.Spec.Containers[0].TTY = true
	d.Spec.Template.Spec.RuntimeClassName = ptr.To("gvisor")
	must(deployments.Create(ctx, d))(t)
	expect("create", "spec.template.spec.containers[0].tty", "spec.template.spec.runtimeClassName")
	must(f.Patch(ctx, deploymentsResource, "default", "web", "", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}))(t)
	expect("scale")
	more := `{"spec":{"template":{"spec":{"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}]}}}}`
	must(f.Patch(ctx, deploymentsResource, "default", "web", "", types.StrategicMergePatchType, []byte(more), metav1.PatchOptions{}))(t)
	expect("patch", "spec.template.spec.topologySpreadConstraints")
	service := newService("s")
	service.Spec.Type = corev1.ServiceTypeLoadBalancer
	service.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"}
	must(client.For[*corev1.Service](f).Create(ctx, service))(t)
	expect("service", "spec.type", "spec.loadBalancerSourceRanges")
	must(client.For[*corev1.Pod](f).Create(ctx, newPod("plain")))(t)
	must(client.For[*corev1.Service](f).Create(ctx, newService("plain")))(t)
	expect("nothing inert")
}
