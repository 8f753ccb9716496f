package serviceaccount

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func TestEveryNamespaceHasAccountAndRootCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		informers := client.NewInformers(cluster)
		looptest.Start(t, informers, New(informers, cluster, []byte("PEM"), loop.Options{}))
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
		check := func(when string) {
			t.Helper()
			looptest.Settle(time.Minute)
			looptest.Get[*corev1.ServiceAccount](t, cluster, "team", "default")
			if got := looptest.Get[*corev1.ConfigMap](t, cluster, "team", "kube-root-ca.crt").Data["ca.crt"]; got != "PEM" {
				t.Errorf("%s the published certificate is %q", when, got)
			}
		}
		check("at first")
		if err := client.For[*corev1.ServiceAccount](cluster).Delete(t.Context(), "team", "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Change(t, cluster, "team", "kube-root-ca.crt", func(c *corev1.ConfigMap) { c.Data["ca.crt"] = "forged" })
		check("after both were spoiled")
	})
}

func TestTerminatingNamespacesGetNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}})
		if err := client.For[*corev1.Namespace](cluster).Delete(t.Context(), "", "team", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		informers := client.NewInformers(cluster)
		looptest.Start(t, informers, New(informers, cluster, nil, loop.Options{}))
		looptest.Settle(time.Minute)
		if n := len(looptest.List[*corev1.ServiceAccount](t, cluster, "team")); n != 0 {
			t.Errorf("%d accounts, want none", n)
		}
	})
}
