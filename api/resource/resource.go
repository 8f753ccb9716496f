// Package resource is the table of the object kinds that a cluster serves: which Go type, which
// REST path, which scope. The API server declares behaviour on top of it; clients find paths in it.
package resource

import (
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Info is what every side of the wire must agree on about one kind.
type Info struct {
	schema.GroupVersionResource
	Kind       string
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool
	// Example is a zero object of the kind, never written to.
	Example runtime.Object
	// ExampleList is a zero list of the kind, never written to.
	ExampleList runtime.Object
}

// GroupVersionKind is the kind's full name.
func (i *Info) GroupVersionKind() schema.GroupVersionKind {
	return i.GroupVersion().WithKind(i.Kind)
}

// DeletesCollection tells whether many objects of the kind can be deleted by one request. Namespaces go one by one, as in
// Kubernetes: with each goes what is in it.
func (i *Info) DeletesCollection() bool {
	return i.GroupResource() != corev1.Resource("namespaces")
}

// New makes an empty object of the kind.
func (i *Info) New() runtime.Object {
	return reflect.New(reflect.TypeOf(i.Example).Elem()).Interface().(runtime.Object)
}

// NewList makes an empty list of the kind.
func (i *Info) NewList() runtime.Object {
	return reflect.New(reflect.TypeOf(i.ExampleList).Elem()).Interface().(runtime.Object)
}

// All lists every kind, core first, in discovery's order.
func All() []*Info { return all }

// Of finds the kind of a typed object.
func Of(obj runtime.Object) (*Info, error) {
	if info, ok := byType[reflect.TypeOf(obj)]; ok {
		return info, nil
	}
	return nil, fmt.Errorf("%T is not a kind that this cluster serves", obj)
}

// For finds a kind by its REST name.
func For(gvr schema.GroupVersionResource) (*Info, bool) {
	info, ok := byResource[gvr]
	return info, ok
}

var all = []*Info{
	core("namespaces", "Namespace", false, &corev1.Namespace{}, &corev1.NamespaceList{}, "ns"),
	core("nodes", "Node", false, &corev1.Node{}, &corev1.NodeList{}, "no"),
	inAll(core("pods", "Pod", true, &corev1.Pod{}, &corev1.PodList{}, "po")),
	inAll(core("services", "Service", true, &corev1.Service{}, &corev1.ServiceList{}, "svc")),
	core("configmaps", "ConfigMap", true, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, "cm"),
	core("secrets", "Secret", true, &corev1.Secret{}, &corev1.SecretList{}),
	core("serviceaccounts", "ServiceAccount", true, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}, "sa"),
	core("events", "Event", true, &corev1.Event{}, &corev1.EventList{}, "ev"),
	inAll(named(appsv1.SchemeGroupVersion, "deployments", "Deployment", true, &appsv1.Deployment{}, &appsv1.DeploymentList{}, "deploy")),
	inAll(named(appsv1.SchemeGroupVersion, "replicasets", "ReplicaSet", true, &appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{}, "rs")),
	named(coordinationv1.SchemeGroupVersion, "leases", "Lease", true, &coordinationv1.Lease{}, &coordinationv1.LeaseList{}),
	named(discoveryv1.SchemeGroupVersion, "endpointslices", "EndpointSlice", true, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}),
}

var (
	byType     = map[reflect.Type]*Info{}
	byResource = map[schema.GroupVersionResource]*Info{}
)

func init() {
	for _, info := range all {
		byType[reflect.TypeOf(info.Example)] = info
		byType[reflect.TypeOf(info.ExampleList)] = info
		byResource[info.GroupVersionResource] = info
	}
}

func core(plural, kind string, namespaced bool, example, list runtime.Object, short ...string) *Info {
	return named(corev1.SchemeGroupVersion, plural, kind, namespaced, example, list, short...)
}

func named(gv schema.GroupVersion, plural, kind string, namespaced bool, example, list runtime.Object, short ...string) *Info {
	return &Info{
		GroupVersionResource: gv.WithResource(plural),
		Kind:                 kind,
		Singular:             plural[:len(plural)-1],
		ShortNames:           short,
		Namespaced:           namespaced,
		Example:              example,
		ExampleList:          list,
	}
}

// inAll puts a kind into kubectl's category "all".
func inAll(i *Info) *Info {
	i.Categories = append(i.Categories, "all")
	return i
}
