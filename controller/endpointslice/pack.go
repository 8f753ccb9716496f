package endpointslice

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/controller/ownership"
)

// perSlice is how many endpoints a slice may have: every change of one sends the whole slice to every node.
const perSlice = 100

// changes is what makes a service's slices right.
type changes struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

// pack finds the changes that put each group's endpoints into slices.
//
//  1. Each endpoint is in one slice; no slice has more than perSlice of them.
//  2. An endpoint stays in the slice where it is, so that few slices change when few endpoints do.
//  3. There is at least one slice, be it empty: it tells that the service has been looked at.
func pack(service *corev1.Service, existing []*discoveryv1.EndpointSlice, groups []group) changes {
	existing = slices.Clone(existing)
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	if len(groups) == 0 {
		groups = []group{{family: familiesOf(service)[0]}}
	}
	byGroup := map[string][]*discoveryv1.EndpointSlice{}
	var all changes
	for _, slice := range existing {
		if slice.DeletionTimestamp == nil {
			key := groupKey(slice.AddressType, slice.Ports)
			byGroup[key] = append(byGroup[key], slice)
		}
	}
	for _, g := range groups {
		key := groupKey(g.family, g.ports)
		all.add(service, g, byGroup[key])
		delete(byGroup, key)
	}
	for _, slice := range existing {
		if slices.Contains(byGroup[groupKey(slice.AddressType, slice.Ports)], slice) {
			all.remove = append(all.remove, slice)
		}
	}
	return all
}

// add finds the changes for one group among the slices that have its ports.
func (c *changes) add(service *corev1.Service, g group, existing []*discoveryv1.EndpointSlice) {
	wanted := map[types.UID]discoveryv1.Endpoint{}
	for _, endpoint := range g.endpoints {
		wanted[endpoint.TargetRef.UID] = endpoint
	}
	kept := make([][]discoveryv1.Endpoint, len(existing))
	for i, slice := range existing {
		for _, endpoint := range slice.Endpoints {
			if endpoint.TargetRef == nil {
				continue
			}
			if now, ok := wanted[endpoint.TargetRef.UID]; ok && len(kept[i]) < perSlice {
				kept[i] = append(kept[i], now)
				delete(wanted, endpoint.TargetRef.UID)
			}
		}
	}
	var homeless []discoveryv1.Endpoint
	for _, endpoint := range g.endpoints {
		if _, ok := wanted[endpoint.TargetRef.UID]; ok {
			homeless = append(homeless, endpoint)
		}
	}
	homeless = fill(existing, kept, homeless)
	for i, slice := range existing {
		c.keep(service, g, slice, kept[i], len(g.endpoints) == 0 && i == 0)
	}
	if len(g.endpoints) == 0 && len(existing) == 0 {
		c.create = append(c.create, newSlice(service, g, nil))
	}
	for part := range slices.Chunk(homeless, perSlice) {
		c.create = append(c.create, newSlice(service, g, part))
	}
}

// fill puts endpoints where there is room, first into slices that change anyway, and returns what is left.
func fill(existing []*discoveryv1.EndpointSlice, kept [][]discoveryv1.Endpoint, homeless []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	for _, changing := range []bool{true, false} {
		for i, slice := range existing {
			if equality.Semantic.DeepEqual(slice.Endpoints, kept[i]) == changing || len(kept[i]) == 0 {
				continue
			}
			n := min(perSlice-len(kept[i]), len(homeless))
			kept[i] = append(kept[i], homeless[:n]...)
			homeless = homeless[n:]
		}
	}
	// An empty slice is of use only when there is something to put into it.
	for i := range existing {
		if len(kept[i]) == 0 {
			n := min(perSlice, len(homeless))
			kept[i] = append(kept[i], homeless[:n]...)
			homeless = homeless[n:]
		}
	}
	return homeless
}

// keep updates a slice if it isn't as it should be, and removes it when it is empty and not to stand for the service.
func (c *changes) keep(service *corev1.Service, g group, slice *discoveryv1.EndpointSlice, endpoints []discoveryv1.Endpoint, standsIn bool) {
	if len(endpoints) == 0 && !standsIn {
		c.remove = append(c.remove, slice)
		return
	}
	want := newSlice(service, g, endpoints)
	if equality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) &&
		equality.Semantic.DeepEqual(slice.Labels, want.Labels) &&
		equality.Semantic.DeepEqual(slice.OwnerReferences, want.OwnerReferences) {
		return
	}
	changed := slice.DeepCopy()
	changed.Endpoints, changed.Labels, changed.OwnerReferences = want.Endpoints, want.Labels, want.OwnerReferences
	c.update = append(c.update, changed)
}

func newSlice(service *corev1.Service, g group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	labels := maps.Clone(service.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	labels[discoveryv1.LabelServiceName] = service.Name
	labels[discoveryv1.LabelManagedBy] = manager
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       service.Namespace,
			GenerateName:    service.Name + "-",
			Labels:          labels,
			OwnerReferences: []metav1.OwnerReference{ownership.Reference(service, kind)},
		},
		AddressType: g.family,
		Ports:       g.ports,
		Endpoints:   endpoints,
	}
}
