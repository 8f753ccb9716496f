package registry

import (
	"reflect"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// strategies is how each kind behaves. A kind that is not here is a plain object.
var strategies = map[schema.GroupResource]strategy{
	{Resource: "namespaces"}: {
		subresources:   []string{finalizeSubresource},
		returnsDeleted: true,
		fields: map[string]func(Object) string{
			"status.phase": typed(func(n *corev1.Namespace) string { return string(n.Status.Phase) }),
		},
		prepareCreate: prepareNamespace,
		prepareUpdate: keepNamespaceFinalizers,
		beginDelete:   terminateNamespace,
		heldBack:      typed(func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 }),
		immortal:      immortalNamespace,
	},
	{Resource: "nodes"}: {
		statusOnCreate:   true,
		labelsWithStatus: true,
		fields: map[string]func(Object) string{
			"spec.unschedulable": typed(func(n *corev1.Node) string { return strconv.FormatBool(n.Spec.Unschedulable) }),
		},
		claims: nodeClaims,
	},
	{Resource: "pods"}: {
		subresources:     []string{bindingSubresource, evictionSubresource},
		generation:       true,
		returnsDeleted:   true,
		labelsWithStatus: true,
		fields:           podFields,
		prepareCreate:    preparePod,
		admit:            admitPod,
		grace:            podGrace,
		runs:             typed(podRuns),
	},
	{Resource: "services"}: {
		returnsDeleted: true,
		fields: map[string]func(Object) string{
			"spec.clusterIP": typed(func(s *corev1.Service) string { return s.Spec.ClusterIP }),
			"spec.type":      typed(func(s *corev1.Service) string { return string(s.Spec.Type) }),
		},
		prepareUpdate: updateService,
		claims:        serviceClaims,
		allocate:      allocateService,
	},
	{Resource: "secrets"}: {
		fields: map[string]func(Object) string{
			"type": typed(func(s *corev1.Secret) string { return string(s.Type) }),
		},
	},
	{Resource: "events"}: {expires: true, createOnUpdate: true, fields: eventFields},
	{Group: "apps", Resource: "deployments"}: {
		subresources: []string{scaleSubresource},
		generation:   true,
	},
	{Group: "apps", Resource: "replicasets"}: {
		subresources: []string{scaleSubresource},
		generation:   true,
		fields: map[string]func(Object) string{
			"status.replicas": typed(func(s *appsv1.ReplicaSet) string { return strconv.Itoa(int(s.Status.Replicas)) }),
		},
	},
	{Group: "coordination.k8s.io", Resource: "leases"}: {createOnUpdate: true, needsVersion: true},
	{Group: "discovery.k8s.io", Resource: "endpointslices"}: {
		generation: true,
		wanted: typed(func(s *discoveryv1.EndpointSlice) any {
			return []any{s.Endpoints, s.Ports, s.AddressType}
		}),
	},
}

var podFields = map[string]func(Object) string{
	nodeNameField:              typed(func(p *corev1.Pod) string { return p.Spec.NodeName }),
	"spec.restartPolicy":       typed(func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) }),
	"spec.schedulerName":       typed(func(p *corev1.Pod) string { return p.Spec.SchedulerName }),
	"spec.serviceAccountName":  typed(func(p *corev1.Pod) string { return p.Spec.ServiceAccountName }),
	"spec.hostNetwork":         typed(func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) }),
	"status.phase":             typed(func(p *corev1.Pod) string { return string(p.Status.Phase) }),
	"status.podIP":             typed(func(p *corev1.Pod) string { return p.Status.PodIP }),
	"status.podIPs":            typed(podIPs),
	"status.nominatedNodeName": typed(func(p *corev1.Pod) string { return p.Status.NominatedNodeName }),
}

var eventFields = map[string]func(Object) string{
	"involvedObject.kind":            typed(func(e *corev1.Event) string { return e.InvolvedObject.Kind }),
	"involvedObject.namespace":       typed(func(e *corev1.Event) string { return e.InvolvedObject.Namespace }),
	"involvedObject.name":            typed(func(e *corev1.Event) string { return e.InvolvedObject.Name }),
	"involvedObject.uid":             typed(func(e *corev1.Event) string { return string(e.InvolvedObject.UID) }),
	"involvedObject.apiVersion":      typed(func(e *corev1.Event) string { return e.InvolvedObject.APIVersion }),
	"involvedObject.resourceVersion": typed(func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion }),
	"involvedObject.fieldPath":       typed(func(e *corev1.Event) string { return e.InvolvedObject.FieldPath }),
	"reason":                         typed(func(e *corev1.Event) string { return e.Reason }),
	"reportingComponent":             typed(func(e *corev1.Event) string { return e.ReportingController }),
	"source":                         typed(eventSource),
	"type":                           typed(func(e *corev1.Event) string { return e.Type }),
}

// eventSource is the component that an event is from; older clients set source, newer ones reportingController.
func eventSource(e *corev1.Event) string {
	if e.Source.Component == "" {
		return e.ReportingController
	}
	return e.Source.Component
}

// clearStatus takes the status out of an object: what a client says of it is not believed.
func clearStatus(obj Object) {
	if f := partOf(obj, "Status"); f.IsValid() {
		f.Set(reflect.Zero(f.Type()))
	}
}
