package validation

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var addressTypes = []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}

// Limits of one slice.
const (
	maxEndpoints     = 1000
	maxAddresses     = 100
	maxEndpointPorts = 20000
	maxZoneHints     = 8
)

func validateEndpointSlice(slice *discoveryv1.EndpointSlice) field.ErrorList {
	errs := chosen(slice.AddressType, addressTypes, field.NewPath("addressType"))
	path := field.NewPath("endpoints")
	if len(slice.Endpoints) > maxEndpoints {
		return append(errs, field.TooMany(path, len(slice.Endpoints), maxEndpoints))
	}
	for i := range slice.Endpoints {
		errs = append(errs, validateEndpoint(&slice.Endpoints[i], slice.AddressType, path.Index(i))...)
	}
	return append(errs, validateEndpointPorts(slice.Ports, field.NewPath("ports"))...)
}

func validateEndpoint(endpoint *discoveryv1.Endpoint, kind discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	addresses := path.Child("addresses")
	switch n := len(endpoint.Addresses); {
	case n == 0:
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	case n > maxAddresses:
		errs = append(errs, field.TooMany(addresses, n, maxAddresses))
	}
	for i, address := range endpoint.Addresses {
		errs = append(errs, validateEndpointAddress(address, kind, addresses.Index(i))...)
	}
	if endpoint.NodeName != nil {
		errs = append(errs, each(apivalidation.NameIsDNSSubdomain(*endpoint.NodeName, false), *endpoint.NodeName, path.Child("nodeName"))...)
	}
	if endpoint.Hostname != nil {
		errs = append(errs, each(validation.IsDNS1123Label(*endpoint.Hostname), *endpoint.Hostname, path.Child("hostname"))...)
	}
	errs = append(errs, metav1validation.ValidateLabels(endpoint.DeprecatedTopology, path.Child("deprecatedTopology"))...)
	if endpoint.Hints != nil && len(endpoint.Hints.ForZones) > maxZoneHints {
		errs = append(errs, field.TooMany(path.Child("hints", "forZones"), len(endpoint.Hints.ForZones), maxZoneHints))
	}
	return errs
}

// validateEndpointAddress checks that traffic can be sent to the address, and that a service can't be
// used to reach the nodes themselves or what only they reach.
func validateEndpointAddress(address string, kind discoveryv1.AddressType, path *field.Path) field.ErrorList {
	if kind == discoveryv1.AddressTypeFQDN {
		return validation.IsFullyQualifiedDomainName(path, address)
	}
	errs := validateIP(address, path)
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return errs
	}
	switch {
	case kind == discoveryv1.AddressTypeIPv4 && !ip.Is4():
		errs = append(errs, field.Invalid(path, address, "must be a valid IPv4 address"))
	case kind == discoveryv1.AddressTypeIPv6 && !ip.Is6():
		errs = append(errs, field.Invalid(path, address, "must be a valid IPv6 address"))
	}
	switch {
	case ip.IsUnspecified():
		errs = append(errs, field.Invalid(path, address, "may not be unspecified ("+address+")"))
	case ip.IsLoopback():
		errs = append(errs, field.Invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	case ip.IsLinkLocalUnicast():
		errs = append(errs, field.Invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
	case ip.IsLinkLocalMulticast():
		errs = append(errs, field.Invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
	}
	return errs
}

func validateEndpointPorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	if len(ports) > maxEndpointPorts {
		return field.ErrorList{field.TooMany(path, len(ports), maxEndpointPorts)}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range ports {
		port, path := &ports[i], path.Index(i)
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		if name != "" {
			errs = append(errs, each(validation.IsDNS1123Label(name), name, path.Child("name"))...)
		}
		if names.Has(name) {
			errs = append(errs, field.Duplicate(path.Child("name"), name))
		}
		names.Insert(name)
		if port.Protocol == nil {
			errs = append(errs, field.Required(path.Child("protocol"), ""))
		} else {
			errs = append(errs, chosen(*port.Protocol, protocols, path.Child("protocol"))...)
		}
		if port.AppProtocol != nil {
			errs = append(errs, each(validation.IsQualifiedName(*port.AppProtocol), *port.AppProtocol, path.Child("appProtocol"))...)
		}
	}
	return errs
}

func validateEndpointSliceUpdate(slice, old *discoveryv1.EndpointSlice) field.ErrorList {
	return append(validateEndpointSlice(slice),
		apivalidation.ValidateImmutableField(slice.AddressType, old.AddressType, field.NewPath("addressType"))...)
}
