package validation

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	restartPolicies = []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	dnsPolicies     = []corev1.DNSPolicy{corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone}
)

func validateNewPod(pod *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := validatePodSpec(&pod.Spec, path)
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

// validatePodSpec checks the spec of a pod or of a pod template.
func validatePodSpec(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs, volumes := validateVolumes(spec.Volumes, path.Child("volumes"))
	errs = append(errs, validateContainers(spec, volumes, path)...)
	errs = append(errs, chosen(spec.RestartPolicy, restartPolicies, path.Child("restartPolicy"))...)
	errs = append(errs, validateDNS(spec, path)...)
	errs = append(errs, validatePlacement(spec, path)...)
	errs = append(errs, validateNames(spec, path)...)
	errs = append(errs, validatePodSecurity(spec, path)...)
	errs = append(errs, nonnegative(spec.TerminationGracePeriodSeconds, path.Child("terminationGracePeriodSeconds"))...)
	if deadline := spec.ActiveDeadlineSeconds; deadline != nil && (*deadline < 1 || *deadline > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *deadline, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if spec.OS != nil {
		errs = append(errs, chosen(spec.OS.Name, []corev1.OSName{corev1.Linux, corev1.Windows}, path.Child("os", "name"))...)
	}
	if spec.Resources != nil {
		errs = append(errs, validateResources(spec.Resources, path.Child("resources"))...)
	}
	return append(errs, validateQuantities(spec.Overhead, path.Child("overhead"))...)
}

// validateNames checks the fields that name other objects, and host names.
func validateNames(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	named := func(value string, rule func(string, bool) []string, name string) {
		if value != "" {
			errs = append(errs, each(rule(value, false), value, path.Child(name))...)
		}
	}
	named(spec.ServiceAccountName, apivalidation.ValidateServiceAccountName, "serviceAccountName")
	named(spec.NodeName, apivalidation.NameIsDNSSubdomain, "nodeName")
	named(spec.PriorityClassName, apivalidation.NameIsDNSSubdomain, "priorityClassName")
	named(spec.Hostname, apivalidation.NameIsDNSLabel, "hostname")
	named(spec.Subdomain, apivalidation.NameIsDNSLabel, "subdomain")
	if spec.RuntimeClassName != nil {
		named(*spec.RuntimeClassName, apivalidation.NameIsDNSSubdomain, "runtimeClassName")
	}
	for i, secret := range spec.ImagePullSecrets {
		if secret.Name == "" {
			errs = append(errs, field.Required(path.Child("imagePullSecrets").Index(i).Child("name"), ""))
		}
	}
	for i, alias := range spec.HostAliases {
		path := path.Child("hostAliases").Index(i)
		errs = append(errs, validation.IsValidIPForLegacyField(path.Child("ip"), alias.IP, true, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, each(validation.IsDNS1123Subdomain(name), name, path.Child("hostnames").Index(j))...)
		}
	}
	gates := sets.New[string]()
	for i, gate := range spec.SchedulingGates {
		path := path.Child("schedulingGates").Index(i)
		errs = append(errs, each(validation.IsQualifiedName(gate.Name), gate.Name, path)...)
		if gates.Has(gate.Name) {
			errs = append(errs, field.Duplicate(path, gate.Name))
		}
		gates.Insert(gate.Name)
	}
	for i, gate := range spec.ReadinessGates {
		condition := string(gate.ConditionType)
		errs = append(errs, each(validation.IsQualifiedName(condition), condition, path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	return errs
}

// Limits of a resolver's configuration.
const (
	maxNameservers      = 3
	maxSearchPaths      = 32
	maxSearchCharacters = 2048
)

func validateDNS(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := chosen(spec.DNSPolicy, dnsPolicies, path.Child("dnsPolicy"))
	path = path.Child("dnsConfig")
	config := spec.DNSConfig
	if config == nil {
		if spec.DNSPolicy == corev1.DNSNone {
			errs = append(errs, field.Required(path, "must provide `dnsConfig` when `dnsPolicy` is "+string(corev1.DNSNone)))
		}
		return errs
	}
	if spec.DNSPolicy == corev1.DNSNone && len(config.Nameservers) == 0 {
		errs = append(errs, field.Required(path.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is "+string(corev1.DNSNone)))
	}
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.TooMany(path.Child("nameservers"), len(config.Nameservers), maxNameservers))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Child("nameservers").Index(i), server, true, nil)...)
	}
	if len(config.Searches) > maxSearchPaths {
		errs = append(errs, field.TooMany(path.Child("searches"), len(config.Searches), maxSearchPaths))
	}
	characters := 0
	for i, search := range config.Searches {
		characters += len(search) + 1
		if search != "." {
			errs = append(errs, each(validation.IsDNS1123SubdomainWithUnderscore(trimDot(search)), search, path.Child("searches").Index(i))...)
		}
	}
	if characters-1 > maxSearchCharacters {
		errs = append(errs, field.Invalid(path.Child("searches"), config.Searches, "must not have more than 2048 characters (including spaces) in the search list"))
	}
	for i, option := range config.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func trimDot(name string) string {
	if len(name) > 1 && name[len(name)-1] == '.' {
		return name[:len(name)-1]
	}
	return name
}

func validatePodSecurity(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	security := spec.SecurityContext
	if security == nil {
		return nil
	}
	path = path.Child("securityContext")
	errs := validateIdentity(security.RunAsUser, security.RunAsGroup, path)
	if security.FSGroup != nil {
		errs = append(errs, each(validation.IsValidGroupID(*security.FSGroup), *security.FSGroup, path.Child("fsGroup"))...)
	}
	for i, group := range security.SupplementalGroups {
		errs = append(errs, each(validation.IsValidGroupID(group), group, path.Child("supplementalGroups").Index(i))...)
	}
	for i, sysctl := range security.Sysctls {
		if sysctl.Name == "" {
			errs = append(errs, field.Required(path.Child("sysctls").Index(i).Child("name"), ""))
		}
	}
	if share := spec.ShareProcessNamespace; share != nil && *share && spec.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	return errs
}

func validateIdentity(user, group *int64, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if user != nil {
		errs = append(errs, each(validation.IsValidUserID(*user), *user, path.Child("runAsUser"))...)
	}
	if group != nil {
		errs = append(errs, each(validation.IsValidGroupID(*group), *group, path.Child("runAsGroup"))...)
	}
	return errs
}

// validatePlacement checks what says where the pod may run.
func validatePlacement(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(spec.NodeSelector, path.Child("nodeSelector"))
	errs = append(errs, validateTolerations(spec.Tolerations, path.Child("tolerations"))...)
	if spec.Affinity != nil {
		errs = append(errs, validateAffinity(spec.Affinity, path.Child("affinity"))...)
	}
	return append(errs, validateSpread(spec.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
}
