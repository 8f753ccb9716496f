package pods

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// environment is a container's variables, in order; a later value of one name replaces an earlier one.
type environment struct {
	entries []*runtimeapi.KeyValue
	values  map[string]string
}

func newEnvironment() *environment { return &environment{values: map[string]string{}} }

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; ok {
		e.entries = slices.DeleteFunc(e.entries, func(kv *runtimeapi.KeyValue) bool { return kv.Key == name })
	}
	e.values[name] = value
	e.entries = append(e.entries, &runtimeapi.KeyValue{Key: name, Value: []byte(value)})
}

func (e *environment) lookup(name string) (string, bool) {
	value, ok := e.values[name]
	return value, ok
}

// environment builds a container's variables: services', then envFrom's, then env's.
func (m *Manager) environment(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*environment, error) {
	env := newEnvironment()
	for _, kv := range serviceVariables(m.services(), pod.Namespace, ptr.Deref(pod.Spec.EnableServiceLinks, true)) {
		env.set(kv.name, kv.value)
	}
	for _, source := range c.EnvFrom {
		if err := m.envFrom(ctx, env, pod, source); err != nil {
			return nil, err
		}
	}
	for _, variable := range c.Env {
		value, ok, err := m.variable(ctx, env, pod, c, variable)
		if err != nil {
			return nil, err
		}
		if ok {
			env.set(variable.Name, value)
		}
	}
	return env, nil
}

func (m *Manager) envFrom(ctx context.Context, env *environment, pod *corev1.Pod, source corev1.EnvFromSource) error {
	values := map[string]string{}
	var optional *bool
	var err error
	switch {
	case source.ConfigMapRef != nil:
		var object *corev1.ConfigMap
		optional = source.ConfigMapRef.Optional
		if object, err = m.objects.ConfigMap(ctx, pod.Namespace, source.ConfigMapRef.Name); err == nil {
			values = object.Data
		}
	case source.SecretRef != nil:
		var object *corev1.Secret
		optional = source.SecretRef.Optional
		if object, err = m.objects.Secret(ctx, pod.Namespace, source.SecretRef.Name); err == nil {
			for key, value := range object.Data {
				values[key] = string(value)
			}
		}
	}
	if apierrors.IsNotFound(err) && ptr.Deref(optional, false) {
		return nil
	}
	for key, value := range values {
		env.set(source.Prefix+key, value)
	}
	return err
}

// variable is the value of one variable; ok is false when an optional source lacks it.
func (m *Manager) variable(ctx context.Context, env *environment, pod *corev1.Pod, c *corev1.Container, v corev1.EnvVar) (value string, ok bool, err error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return expand(v.Value, env.lookup), true, nil
	case from.FieldRef != nil:
		value, err = m.facts.Field(pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		name := from.ResourceFieldRef.ContainerName
		if name == "" {
			name = c.Name
		}
		value, err = m.facts.Resource(pod, from.ResourceFieldRef, name)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := m.objects.ConfigMap(ctx, pod.Namespace, ref.Name)
		if err == nil {
			value, ok = object.Data[ref.Key]
		}
		return keyed(value, ok, err, ptr.Deref(ref.Optional, false), "ConfigMap", pod.Namespace, ref.Name, ref.Key)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := m.objects.Secret(ctx, pod.Namespace, ref.Name)
		var content []byte
		if err == nil {
			content, ok = object.Data[ref.Key]
		}
		return keyed(string(content), ok, err, ptr.Deref(ref.Optional, false), "Secret", pod.Namespace, ref.Name, ref.Key)
	}
	return "", false, fmt.Errorf("variable %s: this kind of valueFrom is not supported", v.Name)
}

func keyed(value string, ok bool, err error, optional bool, kind, namespace, name, key string) (string, bool, error) {
	switch {
	case ok:
		return value, true, nil
	case optional && (err == nil || apierrors.IsNotFound(err)):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
}

type variable struct{ name, value string }

// serviceVariables tells a container where services are, as links between containers once did. The API
// server's own is there always, others of the namespace when links is set.
func serviceVariables(services []*corev1.Service, namespace string, links bool) []variable {
	var list []variable
	for _, service := range services {
		master := service.Namespace == corev1.NamespaceDefault && service.Name == "kubernetes"
		if !master && (service.Namespace != namespace || !links) {
			continue
		}
		if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
			continue
		}
		list = append(list, variablesOf(service)...)
	}
	slices.SortStableFunc(list, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return list
}

func variablesOf(service *corev1.Service) []variable {
	prefix := strings.ToUpper(strings.ReplaceAll(service.Name, "-", "_"))
	ip, first := service.Spec.ClusterIP, service.Spec.Ports[0]
	list := []variable{
		{prefix + "_SERVICE_HOST", ip},
		{prefix + "_SERVICE_PORT", fmt.Sprint(first.Port)},
		{prefix + "_PORT", link(first, ip)},
	}
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			name := strings.ToUpper(strings.ReplaceAll(port.Name, "-", "_"))
			list = append(list, variable{prefix + "_SERVICE_PORT_" + name, fmt.Sprint(port.Port)})
		}
		protocol := strings.ToUpper(protocolOf(port))
		base := fmt.Sprintf("%s_PORT_%d_%s", prefix, port.Port, protocol)
		list = append(list,
			variable{base, link(port, ip)},
			variable{base + "_PROTO", strings.ToLower(protocol)},
			variable{base + "_PORT", fmt.Sprint(port.Port)},
			variable{base + "_ADDR", ip})
	}
	return list
}

func link(port corev1.ServicePort, ip string) string {
	return fmt.Sprintf("%s://%s:%d", strings.ToLower(protocolOf(port)), ip, port.Port)
}

func protocolOf(port corev1.ServicePort) string {
	if port.Protocol == "" {
		return string(corev1.ProtocolTCP)
	}
	return string(port.Protocol)
}
