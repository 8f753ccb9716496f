package clienttest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// selection makes the predicate of a list or watch: namespace, label selector and field selector.
func selection(info *resource.Info, namespace string, opts metav1.ListOptions) (func(client.Object) bool, error) {
	byLabel, err := labels.Parse(opts.LabelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse label selector %q: %v", opts.LabelSelector, err))
	}
	byField, err := fields.ParseSelector(opts.FieldSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse field selector %q: %v", opts.FieldSelector, err))
	}
	known := fieldsOf(info.New().(client.Object))
	for _, requirement := range byField.Requirements() {
		if !known.Has(requirement.Field) {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", requirement.Field))
		}
	}
	return func(obj client.Object) bool {
		return (namespace == "" || obj.GetNamespace() == namespace) &&
			(byLabel.Empty() || byLabel.Matches(labels.Set(obj.GetLabels()))) &&
			(byField.Empty() || byField.Matches(fieldsOf(obj)))
	}, nil
}

// fieldsOf gives the fields that an object can be selected by.
func fieldsOf(obj client.Object) fields.Set {
	set := fields.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
	switch o := obj.(type) {
	case *corev1.Pod:
		set["spec.nodeName"] = o.Spec.NodeName
		set["spec.schedulerName"] = o.Spec.SchedulerName
		set["status.phase"] = string(o.Status.Phase)
	case *corev1.Namespace:
		set["status.phase"] = string(o.Status.Phase)
	case *corev1.Secret:
		set["type"] = string(o.Type)
	case *corev1.Event:
		set["involvedObject.kind"] = o.InvolvedObject.Kind
		set["involvedObject.namespace"] = o.InvolvedObject.Namespace
		set["involvedObject.name"] = o.InvolvedObject.Name
		set["involvedObject.uid"] = string(o.InvolvedObject.UID)
		set["reason"] = o.Reason
		set["type"] = o.Type
	}
	return set
}
