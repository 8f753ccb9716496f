package registry

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Options that have no meaning are refused, with the texts that clients know of Kubernetes: what a caller asks for, such as a dry
// run, is never left out without a word.

// refused is the answer to options of a kind in which errs were found; nil for none.
func refused(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

// isDryRun tells whether a call must leave no trace. Its options have been checked: all that they may hold is "All".
func isDryRun(options []string) bool { return len(options) > 0 }

// checkListOptions refuses what has no meaning for a list.
func checkListOptions(opts *metav1.ListOptions) error {
	if err := checkOptions(opts, false); err != nil {
		return err
	}
	if opts.Continue != "" && opts.ResourceVersion != "" && opts.ResourceVersion != "0" {
		return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	return nil
}

// checkWatchOptions refuses what has no meaning for a watch.
func checkWatchOptions(opts *metav1.ListOptions) error {
	if opts.Continue != "" {
		return apierrors.NewBadRequest("continue is not supported by a watch")
	}
	return checkOptions(opts, true)
}

// checkOptions applies Kubernetes' rules, and refuses numbers that no list and no watch can keep to.
func checkOptions(opts *metav1.ListOptions, watch bool) error {
	switch {
	case opts.Limit < 0:
		return apierrors.NewBadRequest("limit must not be negative")
	case opts.TimeoutSeconds != nil && *opts.TimeoutSeconds < 0:
		return apierrors.NewBadRequest("timeoutSeconds must not be negative")
	}
	return refused("ListOptions", internalvalidation.ValidateListOptions(&internalversion.ListOptions{
		Watch: watch, Continue: opts.Continue, ResourceVersion: opts.ResourceVersion, ResourceVersionMatch: opts.ResourceVersionMatch,
		SendInitialEvents: opts.SendInitialEvents,
	}, true))
}
