package validation

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/resource"
)

// Every field that a client can set is decided on. A field that is new in Kubernetes fails this test until
// somebody has found out what becomes of it.
func TestEveryFieldIsHonouredRefusedOrTold(t *testing.T) {
	reached := map[reflect.Type]bool{}
	var walk func(reflect.Type, string)
	walk = func(kind reflect.Type, from string) {
		for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice || kind.Kind() == reflect.Map {
			kind = kind.Elem()
		}
		if kind.Kind() != reflect.Struct || reached[kind] || strings.HasPrefix(kind.PkgPath(), "k8s.io/apimachinery/") {
			return
		}
		reached[kind] = true
		treatment, ok := treatments[kind]
		embedsOnly := true
		decided := append(strings.Fields(treatment.honoured), strings.Fields(treatment.refused)...)
		for name := range treatment.inert {
			decided = append(decided, name)
		}
		var names []string
		for i := range kind.NumField() {
			f := kind.Field(i)
			name := jsonName(f)
			if name == "" {
				walk(f.Type, from)
				continue
			}
			embedsOnly = false
			names = append(names, name)
			if n := count(decided, name); n != 1 {
				t.Errorf("%s: field %s of %s is decided on %d times: say what becomes of it", from, name, kind, n)
			}
			if name != "status" && name != "metadata" && slices.Contains(strings.Fields(treatment.honoured), name) {
				walk(f.Type, from+"."+name)
			}
		}
		if !ok && !embedsOnly {
			t.Errorf("%s: nothing is said of %s", from, kind)
		}
		for _, name := range decided {
			if !slices.Contains(names, name) {
				t.Errorf("%s has no field %s", kind, name)
			}
		}
	}
	for _, info := range resource.All() {
		walk(reflect.TypeOf(info.Example), info.Kind)
	}
	for kind := range treatments {
		if !reached[kind] {
			t.Errorf("%s can't be reached", kind)
		}
	}
}

func count(names []string, name string) int {
	n := 0
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return n
}

// Each inert field is told of when it is set, wherever it is, by a line that names it.
func TestEachInertFieldIsTold(t *testing.T) {
	for kind, treatment := range treatments {
		for name, inert := range treatment.inert {
			object := reflect.New(kind).Elem()
			i := slices.IndexFunc(reflect.VisibleFields(kind), func(f reflect.StructField) bool { return jsonName(f) == name })
			if i < 0 {
				continue // which the other test says
			}
			set := object.FieldByIndex(reflect.VisibleFields(kind)[i].Index)
			fill(set)
			walk := &inertWalk{}
			walk.object(object, treatment, nil)
			if on, ok := set.Interface().(*bool); ok && len(walk.lines) == 0 {
				*on = true // of a switch one position may be harmless
				walk.object(object, treatment, nil)
			}
			if len(walk.lines) != 1 || walk.lines[0] != name+": "+inert.but {
				t.Errorf("%s: %q, want a line of %s", kind, walk.lines, name)
			}
			if strings.ContainsAny(inert.but, "\n\"") || len(inert.but) > 160 {
				t.Errorf("%s: %s: the text doesn't fit into a header: %q", kind, name, inert.but)
			}
		}
	}
}

// fill gives a field a value that no rule takes for harmless.
func fill(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		if e := value.Elem(); e.Kind() != reflect.Bool {
			fill(e)
		}
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
	case reflect.Map:
		value.Set(reflect.MakeMap(value.Type()))
		if list, ok := value.Interface().(corev1.ResourceList); ok {
			list[corev1.ResourceEphemeralStorage] = apiresource.MustParse("1Gi")
		}
	case reflect.String:
		value.SetString("LoadBalancer")
		if kind, ok := value.Addr().Interface().(*corev1.SecretType); ok {
			*kind = corev1.SecretTypeServiceAccountToken
		}
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Int32, reflect.Int64:
		value.SetInt(1)
	}
}

func TestInertFieldsAreToldOnceAndWithTheirPath(t *testing.T) {
	seccomp := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{
			{Name: "a", TTY: true, SecurityContext: &corev1.SecurityContext{SeccompProfile: seccomp}},
			{Name: "b", TTY: true},
		},
		Affinity:                  &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}},
		HostUsers:                 ptr.To(true),
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{},
	}}}}
	want := []string{
		"spec.template.spec.containers[0].securityContext.seccompProfile: " + notApplied,
		"spec.template.spec.containers[0].tty: " + notApplied,
		"spec.template.spec.affinity.podAntiAffinity: " + notScheduled,
	}
	if got := Inert(d, nil); !slices.Equal(got, want) {
		t.Errorf("a new object: %q, want %q", got, want)
	}
	changed := d.DeepCopy()
	changed.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
	if got := Inert(changed, d); !slices.Equal(got, []string{"spec.template.spec.volumes[0].persistentVolumeClaim: " + noVolumeOf}) {
		t.Errorf("a change: %q, want the volume alone", got)
	}
	var none *appsv1.Deployment
	if got := Inert(&corev1.ConfigMap{Data: map[string]string{"a": "b"}}, none); len(got) != 0 {
		t.Errorf("a config map: %q", got)
	}
}

// Labels and annotations that ask for what is not done are told, in a template as well; those that ask for nothing are not.
func TestInertLabelsAndAnnotationsAreTold(t *testing.T) {
	namespace := &corev1.Namespace{}
	namespace.Labels = map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/audit": "baseline",
		"pod-security.kubernetes.io/warn": "privileged", "pod-security.kubernetes.io/enforce-version": "latest", "team": "a",
	}
	d := &appsv1.Deployment{}
	d.Annotations = map[string]string{"kubernetes.io/ingress-bandwidth": "1M"} // is the pods' only in their template
	d.Spec.Template.Annotations = map[string]string{
		"container.apparmor.security.beta.kubernetes.io/a": "runtime/default", "container.apparmor.security.beta.kubernetes.io/b": "unconfined",
		"kubernetes.io/egress-bandwidth": "1M", "kubernetes.io/change-cause": "none",
	}
	pod := &corev1.Pod{}
	pod.Annotations = map[string]string{
		"seccomp.security.alpha.kubernetes.io/pod": "runtime/default", "container.seccomp.security.alpha.kubernetes.io/a": "localhost/x",
		"kubernetes.io/ingress-bandwidth": "1M",
	}
	token := &corev1.Secret{Type: corev1.SecretTypeServiceAccountToken}
	filled := token.DeepCopy()
	filled.Data = map[string][]byte{"token": []byte("a")}
	for _, test := range []struct {
		obj  runtime.Object
		want []string
	}{
		{namespace, []string{
			"metadata.labels[pod-security.kubernetes.io/audit]: " + noPodSecurity,
			"metadata.labels[pod-security.kubernetes.io/enforce]: " + noPodSecurity,
		}},
		{d, []string{
			"spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: " + notApplied,
			"spec.template.metadata.annotations[kubernetes.io/egress-bandwidth]: " + noBandwidth,
		}},
		{pod, []string{
			"metadata.annotations[container.seccomp.security.alpha.kubernetes.io/a]: " + notApplied,
			"metadata.annotations[kubernetes.io/ingress-bandwidth]: " + noBandwidth,
			"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: " + notApplied,
		}},
		{token, []string{"type: no token is put in it yet: there is no controller for it"}},
		{filled, nil},
		{&corev1.Secret{Type: corev1.SecretTypeOpaque}, nil},
	} {
		if got := Inert(test.obj, nil); !slices.Equal(got, test.want) {
			t.Errorf("%T: %q, want %q", test.obj, got, test.want)
		}
		if again := Inert(test.obj, test.obj); len(again) > 0 {
			t.Errorf("%T: told again: %q", test.obj, again)
		}
	}
}

func TestInertLinesAreBounded(t *testing.T) {
	pod := &corev1.Pod{}
	source := reflect.ValueOf(&corev1.VolumeSource{}).Elem().Type()
	for i := range source.NumField() {
		volume := corev1.Volume{Name: fmt.Sprint(i)}
		fill(reflect.ValueOf(&volume.VolumeSource).Elem().Field(i))
		pod.Spec.Volumes = append(pod.Spec.Volumes, volume)
	}
	got := Inert(pod, nil)
	if len(got) != maxInertTold+1 || !strings.HasSuffix(got[maxInertTold], "more fields do nothing here") {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

// Whatever a client sends, the lines are bounded, and what stays as it was is not told again.
func FuzzInert(f *testing.F) {
	f.Add([]byte(`{"spec":{"hostUsers":false,"os":{"name":"windows"},"containers":[{"tty":true,"resources":{"limits":{"ephemeral-storage":"1"}}}]}}`))
	f.Add([]byte(`{"spec":{"type":"NodePort","externalIPs":["192.0.2.1"],"loadBalancerClass":"a/b"}}`))
	f.Add([]byte(`{"spec":{"template":{"spec":{"volumes":[{"emptyDir":{"sizeLimit":"1"}},{"csi":{}}],"securityContext":{"seccompProfile":{}}}}}}`))
	f.Add([]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/warn":"x"},"annotations":{"seccomp.security.alpha.kubernetes.io/pod":""}}}`))
	f.Add([]byte(`{"addressType":"IPv6","endpoints":[{"hints":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, info := range resource.All() {
			obj := info.New()
			if json.Unmarshal(data, obj) != nil {
				continue
			}
			if lines := Inert(obj, nil); len(lines) > maxInertTold+1 {
				t.Errorf("%s: %d lines", info.Kind, len(lines))
			}
			if lines := Inert(obj, obj); len(lines) > 0 {
				t.Errorf("%s: told again: %q", info.Kind, lines)
			}
		}
	})
}
