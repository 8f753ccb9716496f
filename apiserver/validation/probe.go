package validation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var grpcModes = []corev1.GRPCProbeMode{corev1.GRPCProbeModePlaintext, corev1.GRPCProbeModeTLS}

// validateProbe checks a probe. One that may kill its container must not wait for a second success.
func validateProbe(probe *corev1.Probe, kills bool, path *field.Path) field.ErrorList {
	if probe == nil {
		return nil
	}
	errs := validateHandler(handler{probe.Exec, probe.HTTPGet, probe.TCPSocket, probe.GRPC, nil}, path)
	for _, number := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", probe.InitialDelaySeconds},
		{"timeoutSeconds", probe.TimeoutSeconds},
		{"periodSeconds", probe.PeriodSeconds},
		{"successThreshold", probe.SuccessThreshold},
		{"failureThreshold", probe.FailureThreshold},
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(number.value), path.Child(number.name))...)
	}
	grace := probe.TerminationGracePeriodSeconds
	switch {
	case !kills && grace != nil:
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *grace, "must not be set for readinessProbes"))
	case grace != nil && *grace <= 0:
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *grace, "must be greater than 0"))
	}
	if kills && probe.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), probe.SuccessThreshold, "must be 1"))
	}
	return errs
}

// handler is what probes and hooks do; exactly one field is set.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func validateHook(hook *corev1.LifecycleHandler, path *field.Path) field.ErrorList {
	if hook == nil {
		return nil
	}
	return validateHandler(handler{hook.Exec, hook.HTTPGet, hook.TCPSocket, nil, hook.Sleep}, path)
}

func validateHandler(h handler, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	given := 0
	choose := func(name string, check func(*field.Path) field.ErrorList) {
		given++
		if given > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, check(path.Child(name))...)
	}
	if h.exec != nil {
		choose("exec", func(path *field.Path) field.ErrorList {
			if len(h.exec.Command) == 0 {
				return field.ErrorList{field.Required(path.Child("command"), "")}
			}
			return nil
		})
	}
	if h.http != nil {
		choose("httpGet", func(path *field.Path) field.ErrorList { return validateHTTPGet(h.http, path) })
	}
	if h.tcp != nil {
		choose("tcpSocket", func(path *field.Path) field.ErrorList { return validatePort(h.tcp.Port, path.Child("port")) })
	}
	if h.grpc != nil {
		choose("grpc", func(path *field.Path) field.ErrorList {
			errs := validatePort(intstr.FromInt32(h.grpc.Port), path.Child("port"))
			if h.grpc.Mode != nil {
				errs = append(errs, oneOf(*h.grpc.Mode, grpcModes, path.Child("mode"))...)
			}
			return errs
		})
	}
	if h.sleep != nil {
		choose("sleep", func(path *field.Path) field.ErrorList {
			return apivalidation.ValidateNonnegativeField(h.sleep.Seconds, path.Child("seconds"))
		})
	}
	if given == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func validateHTTPGet(get *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if get.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, validatePort(get.Port, path.Child("port"))...)
	errs = append(errs, oneOf(get.Scheme, []corev1.URIScheme{corev1.URISchemeHTTP, corev1.URISchemeHTTPS}, path.Child("scheme"))...)
	for _, header := range get.HTTPHeaders {
		errs = append(errs, each(validation.IsHTTPHeaderName(header.Name), header.Name, path.Child("httpHeaders"))...)
	}
	return errs
}

// validatePort checks a port that is a number or the name of one.
func validatePort(port intstr.IntOrString, path *field.Path) field.ErrorList {
	switch port.Type {
	case intstr.Int:
		return each(validation.IsValidPortNum(int(port.IntVal)), port.IntVal, path)
	case intstr.String:
		return each(validation.IsValidPortName(port.StrVal), port.StrVal, path)
	default:
		return field.ErrorList{field.InternalError(path, fmt.Errorf("unknown type: %v", port.Type))}
	}
}
