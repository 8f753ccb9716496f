package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patchOperations bounds the operations of one JSON patch.
const patchOperations = 10000

// patchTypes are those that Patch takes.
var patchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
}

// Patch changes an object, or with a subresource ("status", "scale") that part of it. A patch that sets
// no resource version is applied to the newest version, again if need be.
func (r *Registry) Patch(ctx context.Context, gvr schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error) {
	q, err := r.begin(ctx, "patch", gvr, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	if err := q.needNamespace(); err != nil {
		return nil, err
	}
	if err := refused("PatchOptions", validation.ValidatePatchOptions(&opts, pt)); err != nil {
		return nil, err
	}
	dryRun := isDryRun(opts.DryRun)
	p := &patcher{request: q, patch: patch, kind: pt, fieldValidation: opts.FieldValidation, warn: func(text string) { Warn(ctx, text) }}
	switch pt {
	case types.ApplyYAMLPatchType:
		return r.serverSideApply(ctx, q, patch, dryRun, &opts)
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
	default:
		return nil, unsupportedMedia(string(pt), patchTypes...)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if subresource == scaleSubresource {
		return r.rescale(ctx, q, dryRun, opts.FieldManager, func(scale *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
			patched := &autoscalingv1.Scale{}
			return patched, p.applyTo(scale, patched)
		})
	}
	return r.update(ctx, q, dryRun, opts.FieldManager, func(old Object) (Object, error) {
		patched := q.kind.New().(Object)
		if err := p.applyTo(old, patched); err != nil {
			return nil, err
		}
		patched.GetObjectKind().SetGroupVersionKind(q.kind.GroupVersionKind())
		return patched, q.checkIdentity(patched)
	})
}

// patcher applies one patch, as often as it takes.
type patcher struct {
	request         *request
	kind            types.PatchType
	patch           []byte
	parsed          jsonpatch.Patch // of a JSON patch
	fieldValidation string
	warn            func(string)
}

// check refuses what is no patch at all.
func (p *patcher) check() error {
	if p.kind != types.JSONPatchType {
		var document map[string]any
		if err := json.Unmarshal(p.patch, &document); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("the patch is not a JSON object: %v", err))
		}
		return nil
	}
	parsed, err := jsonpatch.DecodePatch(p.patch)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("the patch is not a JSON patch: %v", err))
	}
	if len(parsed) > patchOperations {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("a JSON patch may have %d operations, this one has %d: split it", patchOperations, len(parsed)))
	}
	p.parsed = parsed
	return nil
}

// applyTo reads into patched what the patch makes of old.
func (p *patcher) applyTo(old, patched runtime.Object) error {
	before, err := json.Marshal(old)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	after, err := p.apply(before, old)
	if err != nil {
		return err
	}
	return unmarshal(after, patched, p.fieldValidation, p.warn)
}

func (p *patcher) apply(before []byte, old runtime.Object) ([]byte, error) {
	switch p.kind {
	case types.JSONPatchType:
		after, err := p.parsed.Apply(before)
		if err != nil {
			return nil, invalidPatch(withoutNoError(err))
		}
		return after, nil
	case types.MergePatchType:
		after, err := jsonpatch.MergePatch(before, p.patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the patch can't be merged: %v", err))
		}
		return after, nil
	}
	zero := reflect.New(reflect.TypeOf(old).Elem()).Interface()
	after, err := strategicpatch.StrategicMergePatch(before, p.patch, zero)
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList), errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys):
		return nil, apierrors.NewBadRequest(err.Error())
	case err != nil:
		return nil, invalidPatch(err)
	}
	return after, nil
}

// withoutNoError takes the trace of an error that there was none of out of an error's text: the library that applies JSON patches
// wraps nil.
func withoutNoError(err error) error {
	return errors.New(strings.TrimSuffix(err.Error(), ": %!w(<nil>)"))
}
