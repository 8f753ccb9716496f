package client_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

func TestModifyGetsOverConflicts(t *testing.T) {
	c := clienttest.New()
	c.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}})
	maps := client.For[*corev1.ConfigMap](c)
	tries := 0
	got, err := maps.Modify(t.Context(), "default", "a", func(m *corev1.ConfigMap) error {
		if tries++; tries == 1 {
			other := m.DeepCopy()
			other.Data = map[string]string{"other": "1"}
			if _, err := maps.Update(t.Context(), other); err != nil {
				return err
			}
		}
		metav1.SetMetaDataLabel(&m.ObjectMeta, "mine", "1")
		return nil
	})
	if err != nil || tries != 2 || got.Data["other"] != "1" || got.Labels["mine"] != "1" {
		t.Errorf("after %d tries: %+v, %v", tries, got, err)
	}
}

func TestModifyEndsWithTheErrorOfTheChange(t *testing.T) {
	c := clienttest.New()
	c.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	nodes := client.For[*corev1.Node](c)
	refusal := errors.New("not this one")
	if _, err := nodes.ModifyStatus(t.Context(), "", "a", func(*corev1.Node) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	if _, err := nodes.Modify(t.Context(), "", "b", func(*corev1.Node) error { return nil }); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}
