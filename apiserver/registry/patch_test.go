package registry_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

var deploymentsResource = appsv1.SchemeGroupVersion.WithResource("deployments")

func (f *fixture) patch(pt types.PatchType, name, subresource, patch string, opts metav1.PatchOptions) (runtime.Object, error) {
	return f.Patch(f.ctx, deploymentsResource, "default", name, subresource, pt, []byte(patch), opts)
}

func TestPatchesOfEachType(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*appsv1.Deployment](f).Create(f.ctx, newDeployment("web", 1)))(t)
	strategic := `{"spec":{"template":{"spec":{"containers":[{"name":"second","image":"i"}]}}}}`
	d := must(f.patch(types.StrategicMergePatchType, "web", "", strategic, metav1.PatchOptions{}))(t).(*appsv1.Deployment)
	if len(d.Spec.Template.Spec.Containers) != 2 || d.Generation != 2 {
		t.Errorf("strategic: %d containers, generation %d", len(d.Spec.Template.Spec.Containers), d.Generation)
	}
	d = must(f.patch(types.JSONPatchType, "web", "", `[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":4}]`, metav1.PatchOptions{}))(t).(*appsv1.Deployment)
	if *d.Spec.Replicas != 4 {
		t.Errorf("JSON patch: %d replicas", *d.Spec.Replicas)
	}
	d = must(f.patch(types.MergePatchType, "web", "status", `{"status":{"replicas":9},"spec":{"replicas":1}}`, metav1.PatchOptions{}))(t).(*appsv1.Deployment)
	if d.Status.Replicas != 9 || *d.Spec.Replicas != 4 {
		t.Errorf("status: %d, spec: %d", d.Status.Replicas, *d.Spec.Replicas)
	}
	scale := must(f.patch(types.MergePatchType, "web", "scale", `{"spec":{"replicas":6}}`, metav1.PatchOptions{}))(t).(*autoscalingv1.Scale)
	if scale.Spec.Replicas != 6 || scale.Status.Replicas != 9 || scale.Status.Selector != "app=web" {
		t.Errorf("scale: %+v %+v", scale.Spec, scale.Status)
	}
}

func TestPatchesThatAreNone(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*appsv1.Deployment](f).Create(f.ctx, newDeployment("web", 1)))(t)
	before := f.storage.Revision()
	strict := metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}
	unsupported := func(err error) bool {
		return apierrors.ReasonForError(err) == metav1.StatusReasonUnsupportedMediaType && strings.Contains(err.Error(), string(types.MergePatchType))
	}
	for _, c := range []struct {
		pt    types.PatchType
		patch string
		opts  metav1.PatchOptions
		want  func(error) bool
	}{
		{types.MergePatchType, `{`, metav1.PatchOptions{}, apierrors.IsBadRequest},
		{types.JSONPatchType, `{}`, metav1.PatchOptions{}, apierrors.IsBadRequest},
		{types.JSONPatchType, `[{"op":"test","path":"/spec/replicas","value":7}]`, metav1.PatchOptions{}, apierrors.IsInvalid},
		{types.MergePatchType, `{"spec":{"replicas":"many"}}`, metav1.PatchOptions{}, apierrors.IsInvalid},
		{types.MergePatchType, `{"spec":{"replicas":-1}}`, metav1.PatchOptions{}, apierrors.IsInvalid},
		{types.MergePatchType, `{"spec":{"unknown":1}}`, strict, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `{"spec":{"unknown":1}}`, strict, apierrors.IsBadRequest},
		{types.MergePatchType, `{"metadata":{"name":"other"}}`, metav1.PatchOptions{}, apierrors.IsBadRequest},
		{types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`, metav1.PatchOptions{}, apierrors.IsConflict},
		{types.MergePatchType, `{"spec":{"selector":{"matchLabels":{"app":"other"}}}}`, metav1.PatchOptions{}, apierrors.IsInvalid},
		{"text/plain", `{}`, metav1.PatchOptions{}, unsupported},
		{types.ApplyYAMLPatchType, `{}`, metav1.PatchOptions{}, apierrors.IsInvalid}, // no manager
	} {
		if _, err := f.patch(c.pt, "web", "", c.patch, c.opts); !c.want(err) {
			t.Errorf("%s %s: %v", c.pt, c.patch, err)
		}
	}
	if _, err := f.patch(types.MergePatchType, "missing", "", `{}`, metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a missing object: %v", err)
	}
	if f.storage.Revision() != before {
		t.Error("a patch that was refused changed something")
	}
}

// TestErrorsOfPatchesAreWhole has patches whose errors ended in the error that there was none.
func TestErrorsOfPatchesAreWhole(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*appsv1.Deployment](f).Create(f.ctx, newDeployment("web", 1)))(t)
	for _, c := range []struct {
		pt    types.PatchType
		patch string
		want  string
	}{
		{types.JSONPatchType, `[{"op":"replace","path":"","value":1}]`, "replace operation value must be object or array"},
		{types.JSONPatchType, `[{"op":"replace","path":"","value":null}]`, "valid object"},
		{types.JSONPatchType, `[{"op":"add","path":"","value":1}]`, "valid object"},
		{types.JSONPatchType, `[{"op":"remove","path":""}]`, "valid object"},
		{types.JSONPatchType, `[{"op":"jump","path":"/spec"}]`, "jump"},
		{types.JSONPatchType, `[{"path":"/spec"}]`, "valid object"},
		{types.ApplyYAMLPatchType, `null`, "is not a YAML object"},
		{types.ApplyYAMLPatchType, `- a`, "is not a YAML object"},
		{types.MergePatchType, `null`, ""},
	} {
		_, err := f.patch(c.pt, "web", "", c.patch, metav1.PatchOptions{FieldManager: map[bool]string{true: "m"}[c.pt == types.ApplyYAMLPatchType]})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "%!") || strings.Contains(err.Error(), "<nil>") {
			t.Errorf("%s %s: %v", c.pt, c.patch, err)
		}
	}
}

func TestUnknownFieldsWarn(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*appsv1.Deployment](f).Create(f.ctx, newDeployment("web", 1)))(t)
	var warnings []string
	ctx := registry.WithWarnings(f.ctx, func(text string) { warnings = append(warnings, text) })
	must(f.Patch(ctx, deploymentsResource, "default", "web", "", types.MergePatchType, []byte(`{"spec":{"unknown":1,"replicas":2}}`), metav1.PatchOptions{}))(t)
	if len(warnings) != 1 || warnings[0] != `unknown field "spec.unknown"` {
		t.Errorf("warnings: %q", warnings)
	}
}

// TestPatchesRetry has many patch one object at once: none is lost.
func TestPatchesRetry(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*corev1.ConfigMap](f).Create(f.ctx, newConfigMap("a")))(t)
	var group sync.WaitGroup
	const n = 64
	for i := range n {
		group.Go(func() {
			_, err := client.For[*corev1.ConfigMap](f).Patch(f.ctx, "default", "a", "", types.MergePatchType, fmt.Appendf(nil, `{"data":{"k%d":"v"}}`, i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := must(client.For[*corev1.ConfigMap](f).Get(f.ctx, "default", "a"))(t); len(got.Data) != n+1 {
		t.Errorf("%d of %d patches are there", len(got.Data)-1, n)
	}
}

func TestServerSideApply(t *testing.T) {
	f := newFixture(t, registry.Options{})
	apply := func(manager string, force bool, replicas int) (*appsv1.Deployment, error) {
		obj, err := f.patch(types.ApplyYAMLPatchType, "web", "", fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i}]}
`, replicas), metav1.PatchOptions{FieldManager: manager, Force: &force})
		if err != nil {
			return nil, err
		}
		return obj.(*appsv1.Deployment), nil
	}
	d := must(apply("one", false, 1))(t)
	if len(d.ManagedFields) != 1 || d.UID == "" {
		t.Fatalf("created: %+v", d.ObjectMeta)
	}
	again := must(apply("one", false, 1))(t)
	if again.ResourceVersion != d.ResourceVersion {
		t.Error("the same configuration made a new version")
	}
	if _, err := apply("two", false, 2); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.replicas") {
		t.Errorf("another manager's value: %v", err)
	}
	if d = must(apply("two", true, 2))(t); *d.Spec.Replicas != 2 || d.Generation != 2 {
		t.Errorf("forced: %d replicas, generation %d", *d.Spec.Replicas, d.Generation)
	}
	change := d.DeepCopy()
	three := int32(3)
	change.Spec.Replicas = &three
	updated := must(f.Update(f.ctx, deploymentsResource, "default", "web", "", change, metav1.UpdateOptions{FieldManager: "hand"}))(t).(*appsv1.Deployment)
	if len(updated.ManagedFields) != 3 {
		t.Errorf("%d managers after an update", len(updated.ManagedFields))
	}
	if _, err := apply("two", false, 2); !apierrors.IsConflict(err) {
		t.Errorf("apply over an update: %v", err)
	}
}

func TestScale(t *testing.T) {
	f := newFixture(t, registry.Options{})
	must(client.For[*appsv1.Deployment](f).Create(f.ctx, newDeployment("web", 1)))(t)
	scale := must(f.GetSubresource(f.ctx, deploymentsResource, "default", "web", "scale", metav1.GetOptions{}))(t).(*autoscalingv1.Scale)
	scale.Spec.Replicas = 5
	must(f.Update(f.ctx, deploymentsResource, "default", "web", "scale", scale, metav1.UpdateOptions{}))(t)
	if _, err := f.Update(f.ctx, deploymentsResource, "default", "web", "scale", scale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale scale: %v", err)
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", -1
	if _, err := f.Update(f.ctx, deploymentsResource, "default", "web", "scale", scale, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("negative scale: %v", err)
	}
}
