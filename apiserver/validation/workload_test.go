package validation

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const deploymentManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, resourceVersion: "1"}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web}]
`

func TestDeployment(t *testing.T) {
	number := func(n int) *intstr.IntOrString { return ptr.To(intstr.FromInt(n)) }
	word := func(s string) *intstr.IntOrString { return ptr.To(intstr.FromString(s)) }
	for _, test := range []struct {
		name   string
		change func(*appsv1.DeploymentSpec)
		want   []string
	}{
		{"replicas", func(s *appsv1.DeploymentSpec) { s.Replicas = ptr.To[int32](-1) },
			[]string{`spec.replicas: Invalid value: -1: must be greater than or equal to 0`}},
		{"no selector", func(s *appsv1.DeploymentSpec) { s.Selector = nil }, []string{`spec.selector: Required value`}},
		{"empty selector", func(s *appsv1.DeploymentSpec) { s.Selector = &metav1.LabelSelector{} },
			[]string{`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		{"bad selector", func(s *appsv1.DeploymentSpec) {
			s.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}}
		}, []string{
			`spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`,
			`spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Like"}]}: invalid label selector`,
		}},
		{"other labels", func(s *appsv1.DeploymentSpec) { s.Template.Labels = map[string]string{"app": "other"} },
			[]string{"spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"}},
		{"restart policy", func(s *appsv1.DeploymentSpec) { s.Template.Spec.RestartPolicy = corev1.RestartPolicyNever },
			[]string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		{"deadline of pods", func(s *appsv1.DeploymentSpec) { s.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) },
			[]string{`spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported`}},
		{"no image", func(s *appsv1.DeploymentSpec) { s.Template.Spec.Containers[0].Image = "" },
			[]string{`spec.template.spec.containers[0].image: Required value`}},
		{"strategy", func(s *appsv1.DeploymentSpec) { s.Strategy.Type = "Magic" },
			[]string{`spec.strategy.type: Unsupported value: "Magic": supported values: "Recreate", "RollingUpdate"`}},
		{"recreate with numbers", func(s *appsv1.DeploymentSpec) { s.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
			[]string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		{"stuck", func(s *appsv1.DeploymentSpec) {
			s.Strategy.RollingUpdate.MaxSurge, s.Strategy.RollingUpdate.MaxUnavailable = number(0), word("0%")
		}, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"}},
		{"more than all", func(s *appsv1.DeploymentSpec) { s.Strategy.RollingUpdate.MaxUnavailable = word("101%") },
			[]string{`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		{"not a percentage", func(s *appsv1.DeploymentSpec) { s.Strategy.RollingUpdate.MaxSurge = word("many") },
			[]string{`spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be…`}},
		{"deadline before ready", func(s *appsv1.DeploymentSpec) { s.MinReadySeconds = 600 },
			[]string{`spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := parse[*appsv1.Deployment](t, deploymentManifest)
			test.change(&d.Spec)
			expect(t, Create(d), test.want...)
		})
	}
}

func TestDeploymentUpdate(t *testing.T) {
	old := parse[*appsv1.Deployment](t, deploymentManifest)
	d := old.DeepCopy()
	d.Spec.Replicas = ptr.To[int32](5)
	d.Spec.Template.Spec.Containers[0].Image = "web:2"
	expect(t, Update(d, old))
	d.Spec.Selector.MatchLabels["tier"] = "front"
	d.Spec.Template.Labels["tier"] = "front"
	expect(t, Update(d, old), `spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"front"}}: field is immutable`)
}

func TestDeploymentStatus(t *testing.T) {
	old := parse[*appsv1.Deployment](t, deploymentManifest)
	d := old.DeepCopy()
	d.Status = appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 2}
	expect(t, UpdateStatus(d, old))
	d.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 2, ReadyReplicas: -1}
	expect(t, UpdateStatus(d, old),
		`status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas`,
		`status.readyReplicas: Invalid value: -1: must be greater than or equal to 0`,
		`status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas`)
}

func TestReplicaSet(t *testing.T) {
	const manifest = `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web, resourceVersion: "1"}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web}]
`
	old := parse[*appsv1.ReplicaSet](t, manifest)
	expect(t, Create(old))
	rs := old.DeepCopy()
	rs.Spec.Selector.MatchLabels["app"] = "other"
	expect(t, Update(rs, old),
		"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
		`spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable`)
	rs = old.DeepCopy()
	rs.Status = appsv1.ReplicaSetStatus{Replicas: 1, FullyLabeledReplicas: 2}
	expect(t, UpdateStatus(rs, old), `status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas`)
}
