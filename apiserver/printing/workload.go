package printing

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var templateColumns = []metav1.TableColumnDefinition{
	wide(text("Containers", "The names of the template's containers.")),
	wide(text("Images", "The images of the template's containers.")),
	wide(text("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"])),
}

var deploymentColumns = append([]metav1.TableColumnDefinition{
	nameColumn,
	text("Ready", "How many pods are ready, of how many are wanted."),
	number("Up-to-date", appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"]),
	number("Available", appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"]),
	ageColumn,
}, templateColumns...)

func deploymentRow(now time.Time, d *appsv1.Deployment) metav1.TableRow {
	names, images := containers(&d.Spec.Template.Spec)
	return row(
		d.Name,
		fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, wanted(d.Spec.Replicas)),
		int64(d.Status.UpdatedReplicas),
		int64(d.Status.AvailableReplicas),
		since(now, d.CreationTimestamp.Time),
		names, images,
		metav1.FormatLabelSelector(d.Spec.Selector),
	)
}

var replicaSetColumns = append([]metav1.TableColumnDefinition{
	nameColumn,
	number("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"]),
	number("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"]),
	number("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"]),
	ageColumn,
}, templateColumns...)

func replicaSetRow(now time.Time, rs *appsv1.ReplicaSet) metav1.TableRow {
	names, images := containers(&rs.Spec.Template.Spec)
	return row(
		rs.Name,
		int64(wanted(rs.Spec.Replicas)),
		int64(rs.Status.Replicas),
		int64(rs.Status.ReadyReplicas),
		since(now, rs.CreationTimestamp.Time),
		names, images,
		metav1.FormatLabelSelector(rs.Spec.Selector),
	)
}

// wanted is a replica count, one when it was left out.
func wanted(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func containers(spec *corev1.PodSpec) (names, images string) {
	var n, i []string
	for _, c := range spec.Containers {
		n = append(n, c.Name)
		i = append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}
