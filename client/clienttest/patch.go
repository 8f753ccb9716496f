package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// Patch applies a JSON, merge or strategic merge patch to an object, or to its "status" or "scale".
func (c *Cluster) Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "patch", r, subresource, namespace, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.stored(info, namespace, name)
	if err != nil {
		return nil, err
	}
	base, into := runtime.Object(old), info.New()
	if subresource == "scale" {
		if base, err = scaleOf(old); err != nil {
			return nil, apierrors.NewNotFound(info.GroupResource(), name+"/scale")
		}
		into = &autoscalingv1.Scale{}
	}
	if err := applyPatch(base, into, pt, patch); err != nil {
		return nil, err
	}
	return c.replace(info, old, into, subresource, len(opts.DryRun) > 0)
}

// applyPatch decodes the patched form of base into an empty object.
func applyPatch(base, into runtime.Object, pt types.PatchType, patch []byte) error {
	before, err := json.Marshal(base)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	var after []byte
	switch pt {
	case types.JSONPatchType:
		var operations jsonpatch.Patch
		if operations, err = jsonpatch.DecodePatch(patch); err == nil {
			after, err = operations.Apply(before)
		}
	case types.MergePatchType:
		after, err = jsonpatch.MergePatch(before, patch)
	case types.StrategicMergePatchType:
		after, err = strategicpatch.StrategicMergePatch(before, patch, into)
	default:
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: fmt.Sprintf("the body of the request was in an unknown format: %s is not supported here", pt),
		}}
	}
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("the patch can't be applied: %v", err))
	}
	if err := json.Unmarshal(after, into); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("the patched object can't be decoded: %v", err))
	}
	return nil
}
