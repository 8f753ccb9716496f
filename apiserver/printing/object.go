package printing

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var namespaceColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Status", corev1.NamespaceStatus{}.SwaggerDoc()["phase"]),
	ageColumn,
}

func namespaceRow(now time.Time, ns *corev1.Namespace) metav1.TableRow {
	return row(ns.Name, string(ns.Status.Phase), since(now, ns.CreationTimestamp.Time))
}

var configMapColumns = []metav1.TableColumnDefinition{
	nameColumn,
	number("Data", corev1.ConfigMap{}.SwaggerDoc()["data"]),
	ageColumn,
}

func configMapRow(now time.Time, cm *corev1.ConfigMap) metav1.TableRow {
	return row(cm.Name, int64(len(cm.Data)+len(cm.BinaryData)), since(now, cm.CreationTimestamp.Time))
}

var secretColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Type", corev1.Secret{}.SwaggerDoc()["type"]),
	number("Data", corev1.Secret{}.SwaggerDoc()["data"]),
	ageColumn,
}

func secretRow(now time.Time, secret *corev1.Secret) metav1.TableRow {
	return row(secret.Name, string(secret.Type), int64(len(secret.Data)), since(now, secret.CreationTimestamp.Time))
}

var serviceAccountColumns = []metav1.TableColumnDefinition{
	nameColumn,
	number("Secrets", corev1.ServiceAccount{}.SwaggerDoc()["secrets"]),
	ageColumn,
}

func serviceAccountRow(now time.Time, account *corev1.ServiceAccount) metav1.TableRow {
	return row(account.Name, int64(len(account.Secrets)), since(now, account.CreationTimestamp.Time))
}

var leaseColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
	ageColumn,
}

func leaseRow(now time.Time, lease *coordinationv1.Lease) metav1.TableRow {
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	return row(lease.Name, holder, since(now, lease.CreationTimestamp.Time))
}
