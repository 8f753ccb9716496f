package validation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var containerResources = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)

// validateResources checks that a container asks for things that there are, and for no more than it may use.
func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	limits, requests := path.Child("limits"), path.Child("requests")
	for name, quantity := range sorted(r.Limits) {
		errs = append(errs, validateResourceName(name, limits.Key(string(name)))...)
		errs = append(errs, validateQuantity(name, quantity, limits.Key(string(name)))...)
	}
	for name, quantity := range sorted(r.Requests) {
		errs = append(errs, validateResourceName(name, requests.Key(string(name)))...)
		errs = append(errs, validateQuantity(name, quantity, requests.Key(string(name)))...)
		limit, limited := r.Limits[name]
		switch {
		case limited && wholeOnly(name) && quantity.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, quantity.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && quantity.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, quantity.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && wholeOnly(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
	}
	errs = append(errs, validateClaims(r.Claims, path.Child("claims"))...)
	return errs
}

func validateClaims(claims []corev1.ResourceClaim, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceClaim]()
	for i, claim := range claims {
		if claim.Name == "" {
			errs = append(errs, field.Required(path.Index(i), ""))
		} else if seen.Has(claim) {
			errs = append(errs, field.Duplicate(path.Index(i), claim.Name))
		}
		seen.Insert(claim)
	}
	return errs
}

// validateResourceName knows the resources that every node has; all others carry the domain of who
// defined them.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := each(validation.IsQualifiedName(string(name)), name, path)
	if len(errs) > 0 || containerResources.Has(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		return errs
	}
	if !strings.Contains(string(name), "/") {
		return field.ErrorList{
			field.Invalid(path, name, "must be a standard resource type or fully qualified"),
			field.Invalid(path, name, "must be a standard resource for containers"),
		}
	}
	return nil
}

func validateQuantity(name corev1.ResourceName, quantity resource.Quantity, path *field.Path) field.ErrorList {
	if quantity.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, quantity.String(), "must be greater than or equal to 0")}
	}
	if wholeOnly(name) && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && quantity.MilliValue()%1000 != 0 {
		return field.ErrorList{field.Invalid(path, quantity, "must be an integer")}
	}
	return nil
}

// wholeOnly is true for resources that are not shared: huge pages, and devices with a domain's name.
func wholeOnly(name corev1.ResourceName) bool {
	s := string(name)
	if strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) {
		return true
	}
	return strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix)
}
