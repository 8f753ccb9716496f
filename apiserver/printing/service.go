package printing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

var serviceColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Type", corev1.ServiceSpec{}.SwaggerDoc()["type"]),
	text("Cluster-IP", corev1.ServiceSpec{}.SwaggerDoc()["clusterIP"]),
	text("External-IP", corev1.ServiceSpec{}.SwaggerDoc()["externalIPs"]),
	text("Port(s)", corev1.ServiceSpec{}.SwaggerDoc()["ports"]),
	ageColumn,
	wide(text("Selector", corev1.ServiceSpec{}.SwaggerDoc()["selector"])),
}

func serviceRow(now time.Time, svc *corev1.Service) metav1.TableRow {
	return row(
		svc.Name,
		string(svc.Spec.Type),
		orElse(svc.Spec.ClusterIP, none),
		externalIP(svc),
		servicePorts(svc.Spec.Ports),
		since(now, svc.CreationTimestamp.Time),
		labels.FormatLabels(svc.Spec.Selector),
	)
}

func externalIP(svc *corev1.Service) string {
	switch svc.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return svc.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var addresses []string
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			if address := orElse(ingress.IP, ingress.Hostname); address != "" {
				addresses = append(addresses, address)
			}
		}
		addresses = append(addresses, svc.Spec.ExternalIPs...)
		return orElse(strings.Join(addresses, ","), "<pending>")
	default:
		return orElse(strings.Join(svc.Spec.ExternalIPs, ","), none)
	}
}

func servicePorts(ports []corev1.ServicePort) string {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if port.NodePort > 0 {
			words[i] = fmt.Sprintf("%d:%d/%s", port.Port, port.NodePort, port.Protocol)
		}
	}
	return orElse(strings.Join(words, ","), none)
}

var endpointSliceColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("AddressType", discoveryv1.EndpointSlice{}.SwaggerDoc()["addressType"]),
	text("Ports", discoveryv1.EndpointSlice{}.SwaggerDoc()["ports"]),
	text("Endpoints", discoveryv1.EndpointSlice{}.SwaggerDoc()["endpoints"]),
	ageColumn,
}

func endpointSliceRow(now time.Time, slice *discoveryv1.EndpointSlice) metav1.TableRow {
	ports := make([]string, len(slice.Ports))
	for i, port := range slice.Ports {
		switch {
		case port.Port != nil:
			ports[i] = strconv.Itoa(int(*port.Port))
		case port.Name != nil && *port.Name != "":
			ports[i] = *port.Name
		default:
			ports[i] = "*"
		}
	}
	var addresses []string
	for _, endpoint := range slice.Endpoints {
		addresses = append(addresses, endpoint.Addresses...)
	}
	return row(
		slice.Name,
		string(slice.AddressType),
		firstFew(ports),
		firstFew(addresses),
		since(now, slice.CreationTimestamp.Time),
	)
}

// firstFew names three at most, and counts the rest.
func firstFew(words []string) string {
	const few = 3
	switch {
	case len(words) == 0:
		return "<unset>"
	case len(words) > few:
		return fmt.Sprintf("%s + %d more...", strings.Join(words[:few], ","), len(words)-few)
	default:
		return strings.Join(words, ",")
	}
}
