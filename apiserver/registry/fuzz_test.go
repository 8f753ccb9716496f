package registry

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/api/resource"
)

// FuzzContinue holds that a token which is taken is one that this server makes, and stays in its list.
func FuzzContinue(f *testing.F) {
	f.Add(continueToken{Revision: 5, Start: "default/a"}.String(), "default/")
	f.Add(continueToken{Revision: newestRevision, Start: "a"}.String(), "")
	f.Add("e30", "")
	f.Fuzz(func(t *testing.T, token, prefix string) {
		parsed, err := parseContinue(token, prefix)
		if err != nil {
			if !apierrors.IsBadRequest(err) {
				t.Errorf("%q: %v", token, err)
			}
			return
		}
		if !strings.HasPrefix(parsed.Start, prefix) || parsed.Revision == 0 {
			t.Errorf("%q: %+v leaves %q", token, parsed, prefix)
		}
		if again, err := parseContinue(parsed.String(), prefix); err != nil || again != parsed {
			t.Errorf("%+v comes back as %+v, %v", parsed, again, err)
		}
	})
}

// FuzzSelectors holds that a selector is refused as a bad request, or can be asked.
func FuzzSelectors(f *testing.F) {
	for _, seed := range [][2]string{{"a=b,c!=d", "spec.nodeName=n"}, {"x in (a,b)", "metadata.name!=p"}, {"!", "=="}, {"", "status.phase=Running,spec.nodeName="}} {
		f.Add(seed[0], seed[1])
	}
	info, _ := resource.For(corev1.SchemeGroupVersion.WithResource("pods"))
	k, err := newKind(info, 1)
	if err != nil {
		f.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", Labels: map[string]string{"a": "b"}}}
	f.Fuzz(func(t *testing.T, byLabels, byFields string) {
		s, err := newSelection(k, "default", &metav1.ListOptions{LabelSelector: byLabels, FieldSelector: byFields})
		if err != nil {
			if !apierrors.IsBadRequest(err) {
				t.Errorf("%q %q: %v", byLabels, byFields, err)
			}
			return
		}
		e := &entry{key: "default/p", object: pod}
		if pin := s.trigger(); s.matches(e) && pin.field == nodeNameField && pin.value != "" {
			t.Errorf("%q pins node %q and matches a pod without one", byFields, pin.value)
		}
	})
}
