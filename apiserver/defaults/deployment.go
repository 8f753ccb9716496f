package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func applyDeployment(d *appsv1.Deployment) {
	spec := &d.Spec
	setPointer(&spec.Replicas, 1)
	setPointer(&spec.RevisionHistoryLimit, 10)
	setPointer(&spec.ProgressDeadlineSeconds, 600)
	set(&spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		quarter := intstr.FromString("25%")
		setPointer(&spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setPointer(&spec.Strategy.RollingUpdate.MaxUnavailable, quarter)
		setPointer(&spec.Strategy.RollingUpdate.MaxSurge, quarter)
	}
	applyPodSpec(&spec.Template.Spec)
}
