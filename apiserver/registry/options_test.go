package registry_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

// TestOptionsOfWritesThatHaveNoMeaning gives each verb options that were ignored: the write took place without what was asked for.
func TestOptionsOfWritesThatHaveNoMeaning(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 1)
	must(client.For[*corev1.Pod](f).Create(f.ctx, newPod("p")))(t)
	write := map[string]func(manager, validation string, dryRun []string) error{
		"CreateOptions": func(manager, validation string, dryRun []string) error {
			_, err := f.Create(f.ctx, configMaps, "default", "", "", newConfigMap("new"),
				metav1.CreateOptions{FieldManager: manager, FieldValidation: validation, DryRun: dryRun})
			return err
		},
		"UpdateOptions": func(manager, validation string, dryRun []string) error {
			changed := newConfigMap("a0")
			changed.Data["key"] = "changed"
			_, err := f.Update(f.ctx, configMaps, "default", "a0", "", changed,
				metav1.UpdateOptions{FieldManager: manager, FieldValidation: validation, DryRun: dryRun})
			return err
		},
		"PatchOptions": func(manager, validation string, dryRun []string) error {
			_, err := f.Patch(f.ctx, configMaps, "default", "a0", "", types.MergePatchType, []byte(`{"data":{"key":"patched"}}`),
				metav1.PatchOptions{FieldManager: manager, FieldValidation: validation, DryRun: dryRun})
			return err
		},
	}
	before := f.storage.Revision()
	for kind, call := range write {
		for _, c := range []struct {
			field, manager, validation string
			dryRun                     []string
		}{
			{field: "fieldManager: Too long: may not be more than 128 bytes", manager: strings.Repeat("m", 129)},
			{field: "fieldManager: Invalid value: \"a\\tb\": invalid character", manager: "a\tb"},
			{field: "fieldValidation: Unsupported value: \"strict\"", validation: "strict"},
			{field: "dryRun: Unsupported value: [\"Some\"]", dryRun: []string{"Some"}},
			{field: "dryRun: Unsupported value: [\"All\",\"Some\"]", dryRun: []string{"All", "Some"}},
		} {
			err := call(c.manager, c.validation, c.dryRun)
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), kind) || !strings.Contains(err.Error(), c.field) {
				t.Errorf("%s with %s: %v", kind, c.field, err)
			}
		}
	}
	elsewhere := metav1.DeletionPropagation("Sideways")
	for name, opts := range map[string]metav1.DeleteOptions{
		"propagationPolicy: Unsupported value: \"Sideways\"":          {PropagationPolicy: &elsewhere},
		"dryRun: Unsupported value":                                   {DryRun: []string{"Some"}},
		"orphanDependents and deletionPropagation cannot be both set": {PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan), OrphanDependents: ptr.To(true)}, //nolint:staticcheck // older clients send it
	} {
		_, single := f.Delete(f.ctx, configMaps, "default", "a0", opts)
		_, several := f.DeleteCollection(f.ctx, configMaps, "default", opts, metav1.ListOptions{})
		_, none := f.DeleteCollection(f.ctx, configMaps, "default", opts, metav1.ListOptions{LabelSelector: "of=nothing"})
		_, evicted := f.Create(f.ctx, podsResource, "default", "p", "eviction",
			&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}, DeleteOptions: &opts}, metav1.CreateOptions{})
		for how, err := range map[string]error{"delete": single, "deletecollection": several, "deletecollection of nothing": none, "eviction": evicted} {
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %s: %v", how, name, err)
			}
		}
	}
	if f.storage.Revision() != before {
		t.Error("a write that was refused changed something")
	}
}

// TestDryRunMayBeAskedForTwice is what a client sends that adds its own "All" to its user's.
func TestDryRunMayBeAskedForTwice(t *testing.T) {
	f := newFixture(t, registry.Options{})
	before := f.storage.Revision()
	must(f.Create(f.ctx, configMaps, "default", "", "", newConfigMap("a"), metav1.CreateOptions{DryRun: []string{"All", "All"}}))(t)
	if f.storage.Revision() != before {
		t.Error("a dry run changed something")
	}
}
