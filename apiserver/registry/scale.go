package registry

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// scaleOf shows an object as a Scale.
func scaleOf(obj Object) (*autoscalingv1.Scale, error) {
	scale := &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: autoscalingv1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
	}
	var selector *metav1.LabelSelector
	var replicas *int32
	switch o := obj.(type) {
	case *appsv1.Deployment:
		replicas, selector, scale.Status.Replicas = o.Spec.Replicas, o.Spec.Selector, o.Status.Replicas
	case *appsv1.ReplicaSet:
		replicas, selector, scale.Status.Replicas = o.Spec.Replicas, o.Spec.Selector, o.Status.Replicas
	default:
		return nil, apierrors.NewInternalError(fmt.Errorf("a %T has no scale", obj))
	}
	if replicas != nil {
		scale.Spec.Replicas = *replicas
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	scale.Status.Selector = parsed.String()
	return scale, nil
}

// rescale sets the number of replicas to that of the Scale which propose makes of the current one.
func (r *Registry) rescale(ctx context.Context, q *request, dryRun bool, manager string, propose func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (runtime.Object, error) {
	updated, err := r.update(ctx, q, dryRun, manager, func(old Object) (Object, error) {
		current, err := scaleOf(old)
		if err != nil {
			return nil, err
		}
		scale, err := propose(current)
		if err != nil {
			return nil, err
		}
		return rescaled(q, old, scale)
	})
	if err != nil {
		return nil, err
	}
	return scaleOf(updated)
}

func rescaled(q *request, old Object, scale *autoscalingv1.Scale) (Object, error) {
	if scale.Name != "" && scale.Name != q.name() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", scale.Name, q.name()))
	}
	if scale.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), q.name(), field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0")})
	}
	obj := deepCopy(old)
	obj.SetResourceVersion(scale.ResourceVersion)
	obj.SetUID(scale.UID)
	replicas := scale.Spec.Replicas
	switch o := obj.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = &replicas
	case *appsv1.ReplicaSet:
		o.Spec.Replicas = &replicas
	}
	return obj, nil
}
