package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ctlplane/ctlplane/api/resource"
)

// validateMeta checks the metadata that every object has.
func validateMeta(obj runtime.Object) field.ErrorList {
	path := field.NewPath("metadata")
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	info, err := resource.Of(obj)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	return apivalidation.ValidateObjectMetaAccessor(accessor, info.Namespaced, nameRule(obj), path)
}

// nameRule is what names of the kind must look like. Services become host names, and namespaces
// parts of them; other names are only paths in the API.
func nameRule(obj runtime.Object) apivalidation.ValidateNameFunc {
	switch obj.(type) {
	case *corev1.Service:
		return apivalidation.NameIsDNS1035Label
	case *corev1.Namespace:
		return apivalidation.NameIsDNSLabel
	default:
		return apivalidation.NameIsDNSSubdomain
	}
}

func validateMetaUpdate(obj, old runtime.Object) field.ErrorList {
	path := field.NewPath("metadata")
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	oldAccessor, err := meta.Accessor(old)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	return apivalidation.ValidateObjectMetaAccessorUpdate(accessor, oldAccessor, path)
}

// validateTemplateMeta checks the metadata of a pod template, which needs no name.
func validateTemplateMeta(template *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(template.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, path.Child("annotations"))...)
	return append(errs, apivalidation.ValidateFinalizers(template.Finalizers, path.Child("finalizers"))...)
}

// selectorRules are the rules for new selectors.
var selectorRules = metav1validation.LabelSelectorValidationOptions{}

// validateWorkloadSelector checks that a workload selects the pods that it makes, and not all pods.
func validateWorkloadSelector(selector *metav1.LabelSelector, template *corev1.PodTemplateSpec, kind string, path *field.Path) field.ErrorList {
	if selector == nil {
		return field.ErrorList{field.Required(path.Child("selector"), "")}
	}
	errs := metav1validation.ValidateLabelSelector(selector, selectorRules, path.Child("selector"))
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path.Child("selector"), selector, "empty selector is invalid for "+kind))
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), selector, "invalid label selector"))
	}
	if !parsed.Empty() && !parsed.Matches(labels.Set(template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), template.Labels,
			"`selector` does not match template `labels`"))
	}
	return errs
}
