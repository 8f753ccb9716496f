package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	serviceTypes = []corev1.ServiceType{
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort,
	}
	affinities       = []corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone}
	internalPolicies = []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}
	families         = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	familyPolicies   = []corev1.IPFamilyPolicy{corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack}
	distributions    = []string{corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferSameZone}
	externalPolicies = []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal}
)

func validateService(svc *corev1.Service) field.ErrorList {
	path, spec := field.NewPath("spec"), &svc.Spec
	errs := chosen(spec.Type, serviceTypes, path.Child("type"))
	errs = append(errs, metav1validation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	errs = append(errs, validateServicePorts(spec, path.Child("ports"))...)
	errs = append(errs, validateAffinityConfig(spec, path)...)
	errs = append(errs, validateClusterIPs(spec, path)...)
	errs = append(errs, validateTrafficPolicies(spec, path)...)
	errs = append(errs, validateTypeFields(spec, path)...)
	if spec.Type == corev1.ServiceTypeExternalName {
		errs = append(errs, validateExternalName(spec, path)...)
	}
	for i, ip := range spec.ExternalIPs {
		errs = append(errs, validateIP(ip, path.Child("externalIPs").Index(i))...)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		for i, cidr := range spec.LoadBalancerSourceRanges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(path.Child("loadBalancerSourceRanges").Index(i), cidr, true, nil)...)
		}
	} else if len(spec.LoadBalancerSourceRanges) > 0 {
		errs = append(errs, field.Forbidden(path.Child("loadBalancerSourceRanges"), "may only be used when `type` is 'LoadBalancer'"))
	}
	return errs
}

func headless(spec *corev1.ServiceSpec) bool { return spec.ClusterIP == corev1.ClusterIPNone }

func validateExternalName(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.ClusterIP != "" {
		errs = append(errs, field.Forbidden(path.Child("clusterIPs"), "may not be set when `type` is 'ExternalName'"))
	}
	if spec.ExternalName == "" {
		return append(errs, field.Required(path.Child("externalName"), ""))
	}
	return append(errs, each(validation.IsDNS1123Subdomain(trimDot(spec.ExternalName)), spec.ExternalName, path.Child("externalName"))...)
}

func validateServicePorts(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Ports) == 0 && !headless(spec) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path, ""))
	}
	type address struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports, nodePorts := sets.New[string](), sets.New[address](), sets.New[address]()
	for i := range spec.Ports {
		port, path := &spec.Ports[i], path.Index(i)
		errs = append(errs, validateServicePort(spec, port, path)...)
		if port.Name != "" && names.Has(port.Name) {
			errs = append(errs, field.Duplicate(path.Child("name"), port.Name))
		}
		names.Insert(port.Name)
		at := address{port.Protocol, port.Port}
		if ports.Has(at) {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: port.Protocol, Port: port.Port}))
		}
		ports.Insert(at)
		if on := (address{port.Protocol, port.NodePort}); port.NodePort != 0 {
			if nodePorts.Has(on) {
				errs = append(errs, field.Duplicate(path.Child("nodePort"), port.NodePort))
			}
			nodePorts.Insert(on)
		}
	}
	return errs
}

func validateServicePort(spec *corev1.ServiceSpec, port *corev1.ServicePort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if port.Name == "" {
		if len(spec.Ports) > 1 {
			errs = append(errs, field.Required(path.Child("name"), ""))
		}
	} else {
		errs = append(errs, each(validation.IsDNS1123Label(port.Name), port.Name, path.Child("name"))...)
	}
	errs = append(errs, each(validation.IsValidPortNum(int(port.Port)), port.Port, path.Child("port"))...)
	errs = append(errs, chosen(port.Protocol, protocols, path.Child("protocol"))...)
	errs = append(errs, validatePort(port.TargetPort, path.Child("targetPort"))...)
	if port.AppProtocol != nil {
		errs = append(errs, each(validation.IsQualifiedName(*port.AppProtocol), *port.AppProtocol, path.Child("appProtocol"))...)
	}
	if port.NodePort != 0 {
		errs = append(errs, each(validation.IsValidPortNum(int(port.NodePort)), port.NodePort, path.Child("nodePort"))...)
		if spec.Type != corev1.ServiceTypeNodePort && spec.Type != corev1.ServiceTypeLoadBalancer {
			errs = append(errs, field.Forbidden(path.Child("nodePort"), "may not be used when `type` is '"+string(spec.Type)+"'"))
		}
	}
	return errs
}

// maxAffinitySeconds is a day.
const maxAffinitySeconds = 24 * 60 * 60

func validateAffinityConfig(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	errs := chosen(spec.SessionAffinity, affinities, path.Child("sessionAffinity"))
	config := spec.SessionAffinityConfig
	path = path.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityClientIP:
		path = path.Child("clientIP", "timeoutSeconds")
		if config == nil || config.ClientIP == nil || config.ClientIP.TimeoutSeconds == nil {
			return append(errs, field.Required(path, "when session affinity type is ClientIP"))
		}
		if s := *config.ClientIP.TimeoutSeconds; s <= 0 || s > maxAffinitySeconds {
			errs = append(errs, field.Invalid(path, s, "must be greater than 0 and less than 86400"))
		}
	case corev1.ServiceAffinityNone:
		if config != nil {
			errs = append(errs, field.Forbidden(path, "must not be set when session affinity is None"))
		}
	}
	return errs
}

// validateClusterIPs checks addresses that were asked for; free ones are given out by the registry.
func validateClusterIPs(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.ClusterIP != "" && !headless(spec) {
		errs = append(errs, validateIP(spec.ClusterIP, path.Child("clusterIP"))...)
	}
	if policy := spec.IPFamilyPolicy; policy != nil {
		errs = append(errs, oneOf(*policy, familyPolicies, path.Child("ipFamilyPolicy"))...)
	}
	for i, family := range spec.IPFamilies {
		errs = append(errs, oneOf(family, families, path.Child("ipFamilies").Index(i))...)
	}
	errs = append(errs, validateIPv4Only(spec, path)...)
	if len(spec.ClusterIPs) == 0 {
		return errs
	}
	if spec.ClusterIPs[0] != spec.ClusterIP {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if slices.Contains(spec.ClusterIPs, corev1.ClusterIPNone) && len(spec.ClusterIPs) > 1 {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "'None' must be the first and only value"))
	}
	return errs
}

// validateIPv4Only refuses what a cluster of IPv4 addresses can't give. The endpoints of a headless service without a
// selector are its user's, of whatever family.
func validateIPv4Only(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	if headless(spec) && len(spec.Selector) == 0 {
		return nil
	}
	var errs field.ErrorList
	for i, family := range spec.IPFamilies {
		if family == corev1.IPv6Protocol {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	if policy := spec.IPFamilyPolicy; policy != nil && *policy == corev1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), *policy, "this cluster is not configured for dual-stack services"))
	}
	if len(spec.ClusterIPs) > 1 {
		errs = append(errs, field.Invalid(path.Child("clusterIPs"), spec.ClusterIPs, "may only hold a single value, as this cluster is not configured for dual-stack services"))
	}
	return errs
}

func validateTrafficPolicies(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if policy := spec.InternalTrafficPolicy; policy != nil {
		errs = append(errs, oneOf(*policy, internalPolicies, path.Child("internalTrafficPolicy"))...)
	}
	if spec.TrafficDistribution != nil {
		errs = append(errs, oneOf(*spec.TrafficDistribution, distributions, path.Child("trafficDistribution"))...)
	}
	external := spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer ||
		spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0
	switch policy, path := spec.ExternalTrafficPolicy, path.Child("externalTrafficPolicy"); {
	case policy == "":
	case !external:
		errs = append(errs, field.Invalid(path, policy, "may only be set for externally-accessible services"))
	default:
		errs = append(errs, oneOf(policy, externalPolicies, path)...)
	}
	return errs
}

// validateTypeFields checks the fields that only services of some types have.
func validateTypeFields(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	if headless(spec) && (balanced || spec.Type == corev1.ServiceTypeNodePort) {
		errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), spec.ClusterIP, "may not be set to 'None' for "+string(spec.Type)+" services"))
	}
	if path := path.Child("healthCheckNodePort"); spec.HealthCheckNodePort != 0 {
		errs = append(errs, each(validation.IsValidPortNum(int(spec.HealthCheckNodePort)), spec.HealthCheckNodePort, path)...)
		if !balanced || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			errs = append(errs, field.Invalid(path, spec.HealthCheckNodePort,
				"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		}
	}
	if !balanced && spec.AllocateLoadBalancerNodePorts != nil {
		errs = append(errs, field.Forbidden(path.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if class, path := spec.LoadBalancerClass, path.Child("loadBalancerClass"); class != nil {
		if !balanced {
			errs = append(errs, field.Forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
		}
		errs = append(errs, each(validation.IsQualifiedName(*class), *class, path)...)
	}
	return errs
}

func validateServiceUpdate(svc, old *corev1.Service) field.ErrorList {
	errs := validateService(svc)
	// A service that takes an address keeps it; only ExternalName lets go of one.
	if old.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.ClusterIP != "" {
		path := field.NewPath("spec", "clusterIPs").Index(0)
		if svc.Spec.ClusterIP == "" {
			return append(errs, field.Invalid(path, []string{}, "primary clusterIP can not be unset"))
		}
		if svc.Spec.ClusterIP != old.Spec.ClusterIP {
			return append(errs, field.Invalid(path, []string{svc.Spec.ClusterIP}, apivalidation.FieldImmutableErrorMsg))
		}
	}
	return errs
}

func validateLoadBalancerStatus(status *corev1.LoadBalancerStatus, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ingress := range status.Ingress {
		path := path.Child("ingress").Index(i)
		if ingress.IP != "" {
			errs = append(errs, validateIP(ingress.IP, path.Child("ip"))...)
		}
		if ingress.Hostname != "" {
			errs = append(errs, each(validation.IsDNS1123Subdomain(ingress.Hostname), ingress.Hostname, path.Child("hostname"))...)
		}
	}
	return errs
}

func validateIP(ip string, path *field.Path) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, ip, true, nil)
}
