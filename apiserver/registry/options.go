package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	if err := checkBounds(opts); err != nil {
		return err
	}
	match := opts.ResourceVersionMatch
	switch {
	case opts.SendInitialEvents != nil:
		return invalidOption("sendInitialEvents", *opts.SendInitialEvents, "sendInitialEvents is forbidden for list")
	case match == "":
	case opts.Continue != "":
		return invalidOption("resourceVersionMatch", match, "resourceVersionMatch is forbidden when continue is provided")
	case opts.ResourceVersion == "":
		return invalidOption("resourceVersionMatch", match, "resourceVersionMatch is forbidden unless resourceVersion is provided")
	case match != metav1.ResourceVersionMatchExact && match != metav1.ResourceVersionMatchNotOlderThan:
		return invalidOption("resourceVersionMatch", match, fmt.Sprintf("resourceVersionMatch %q is not supported: use Exact or NotOlderThan", match))
	case match == metav1.ResourceVersionMatchExact && opts.ResourceVersion == "0":
		return invalidOption("resourceVersionMatch", match, `resourceVersionMatch "Exact" is forbidden for resourceVersion "0"`)
	}
	if opts.Continue != "" && opts.ResourceVersion != "" && opts.ResourceVersion != "0" {
		return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	return nil
}

// checkWatchOptions refuses what has no meaning for a watch.
func checkWatchOptions(opts *metav1.ListOptions) error {
	if err := checkBounds(opts); err != nil {
		return err
	}
	initial := opts.SendInitialEvents
	switch {
	case opts.Continue != "":
		return apierrors.NewBadRequest("continue is not supported by a watch")
	case initial == nil && opts.ResourceVersionMatch != "":
		return invalidOption("resourceVersionMatch", opts.ResourceVersionMatch, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
	case initial != nil && opts.ResourceVersionMatch != metav1.ResourceVersionMatchNotOlderThan:
		return invalidOption("resourceVersionMatch", opts.ResourceVersionMatch, `sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"`)
	case initial != nil && *initial && !opts.AllowWatchBookmarks:
		return invalidOption("allowWatchBookmarks", false, "sendInitialEvents requires allowWatchBookmarks: its end is told by a bookmark")
	}
	return nil
}

// checkBounds refuses numbers that no list and no watch can keep to.
func checkBounds(opts *metav1.ListOptions) error {
	switch {
	case opts.Limit < 0:
		return apierrors.NewBadRequest("limit must not be negative")
	case opts.TimeoutSeconds != nil && *opts.TimeoutSeconds < 0:
		return apierrors.NewBadRequest("timeoutSeconds must not be negative")
	}
	return nil
}

func invalidOption(name string, value any, why string) error {
	return refused("ListOptions", field.ErrorList{field.Invalid(field.NewPath(name), value, why)})
}
