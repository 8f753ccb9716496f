package registry

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// apiService is the service in namespace default through which pods reach the API.
const apiService = "kubernetes"

// apiServicePort is the port of that service.
const apiServicePort = 443

// Bootstrap makes the objects that every cluster has: the system namespaces with their default service
// accounts, and the kubernetes service, which leads to the masters' API addresses. What is there
// already is left as it is, except that the service follows the addresses. It may be called again,
// whenever those change, by any master.
func (r *Registry) Bootstrap(ctx context.Context, masters []netip.AddrPort) error {
	ctx = auth.WithUser(ctx, auth.System("apiserver"))
	for _, name := range systemNamespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: defaultAccount, Namespace: name}}
		if err := r.ensure(ctx, namespace); err != nil {
			return err
		}
		if err := r.ensure(ctx, account); err != nil {
			return err
		}
	}
	if err := r.ensure(ctx, r.newAPIService(masters)); err != nil {
		return err
	}
	return r.publish(ctx, masters)
}

// ensure creates an object unless there is one of its name.
func (r *Registry) ensure(ctx context.Context, obj Object) error {
	info, err := resource.Of(obj)
	if err != nil {
		return err
	}
	_, err = r.Create(ctx, info.GroupVersionResource, obj.GetNamespace(), "", "", obj, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %s %s: %w", info.Singular, obj.GetName(), err)
	}
	return nil
}

func (r *Registry) newAPIService(masters []netip.AddrPort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: apiService, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: nthAddress(r.opts.ServiceCIDR, 1).String(),
			Ports: []corev1.ServicePort{{
				Name: "https", Port: apiServicePort, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(apiPort(masters)),
			}},
		},
	}
}

func apiPort(masters []netip.AddrPort) int32 {
	if len(masters) == 0 {
		return 6443
	}
	return int32(masters[0].Port())
}

// publish makes the service's endpoints the masters' addresses. A slice has one port: masters that
// listen on another than the first are in a slice of their own.
func (r *Registry) publish(ctx context.Context, masters []netip.AddrPort) error {
	byPort := map[uint16][]string{}
	for _, m := range masters {
		byPort[m.Port()] = append(byPort[m.Port()], m.Addr().String())
	}
	for port, addresses := range byPort {
		name := apiService
		if int32(port) != apiPort(masters) {
			name = fmt.Sprintf("%s-%d", apiService, port)
		}
		if err := r.ensureSlice(ctx, apiSlice(name, port, addresses)); err != nil {
			return err
		}
	}
	return r.dropSlices(ctx, byPort, masters)
}

func apiSlice(name string, port uint16, addresses []string) *discoveryv1.EndpointSlice {
	number, protocol, portName, ready := int32(port), corev1.ProtocolTCP, "https", true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{discoveryv1.LabelServiceName: apiService, discoveryv1.LabelManagedBy: "apiserver"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &number, Protocol: &protocol}},
	}
	for _, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return slice
}

func (r *Registry) ensureSlice(ctx context.Context, slice *discoveryv1.EndpointSlice) error {
	gvr := discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	_, err := r.Update(ctx, gvr, slice.Namespace, slice.Name, "", slice, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return r.ensure(ctx, slice)
	}
	return err
}

// dropSlices removes the slices of ports that no master listens on any more.
func (r *Registry) dropSlices(ctx context.Context, byPort map[uint16][]string, masters []netip.AddrPort) error {
	gvr := discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	found, err := r.List(ctx, gvr, metav1.NamespaceDefault, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + apiService + "," + discoveryv1.LabelManagedBy + "=apiserver"})
	if err != nil {
		return err
	}
	for i := range found.(*discoveryv1.EndpointSliceList).Items {
		slice := &found.(*discoveryv1.EndpointSliceList).Items[i]
		if len(slice.Ports) == 1 && slice.Ports[0].Port != nil && (len(masters) == 0 || byPort[uint16(*slice.Ports[0].Port)] != nil) {
			continue
		}
		if _, err := r.Delete(ctx, gvr, slice.Namespace, slice.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
