package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range env {
		v, path := &env[i], path.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		} else {
			errs = append(errs, each(validation.IsRelaxedEnvVarName(v.Name), v.Name, path.Child("name"))...)
		}
		if v.ValueFrom != nil {
			errs = append(errs, validateEnvSource(v, path.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateEnvSource(v *corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	from, sources := v.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(from.FieldRef, envFields, path.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		if from.ResourceFieldRef.Resource == "" {
			errs = append(errs, field.Required(path.Child("resourceFieldRef", "resource"), ""))
		}
	}
	if from.ConfigMapKeyRef != nil {
		sources++
		errs = append(errs, validateKeyRef(from.ConfigMapKeyRef.Key, path.Child("configMapKeyRef"))...)
	}
	if from.SecretKeyRef != nil {
		sources++
		errs = append(errs, validateKeyRef(from.SecretKeyRef.Key, path.Child("secretKeyRef"))...)
	}
	if from.FileKeyRef != nil {
		sources++
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(key string, path *field.Path) field.ErrorList {
	if key == "" {
		return field.ErrorList{field.Required(path.Child("key"), "")}
	}
	return each(validation.IsConfigMapKey(key), key, path.Child("key"))
}

// Fields of its pod that a container may be told, and that a file of a downward volume may hold.
var (
	envFields = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)

func validateFieldRef(ref *corev1.ObjectFieldSelector, known []string, path *field.Path) field.ErrorList {
	if ref.APIVersion == "" {
		return field.ErrorList{field.Required(path.Child("apiVersion"), "")}
	}
	if ref.FieldPath == "" {
		return field.ErrorList{field.Required(path.Child("fieldPath"), "")}
	}
	if name, ok := subscripted(ref.FieldPath, "metadata.annotations"); ok {
		return each(validation.IsQualifiedName(name), name, path.Child("fieldPath"))
	}
	if name, ok := subscripted(ref.FieldPath, "metadata.labels"); ok {
		return each(validation.IsQualifiedName(name), name, path.Child("fieldPath"))
	}
	return oneOf(ref.FieldPath, known, path.Child("fieldPath"))
}

// subscripted takes the key out of map['key'].
func subscripted(fieldPath, name string) (key string, ok bool) {
	prefix, suffix := name+"['", "']"
	if len(fieldPath) < len(prefix)+len(suffix) || fieldPath[:len(prefix)] != prefix || fieldPath[len(fieldPath)-len(suffix):] != suffix {
		return "", false
	}
	return fieldPath[len(prefix) : len(fieldPath)-len(suffix)], true
}

func validateEnvFrom(sources []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range sources {
		source, path := &sources[i], path.Index(i)
		if source.Prefix != "" {
			errs = append(errs, each(validation.IsRelaxedEnvVarName(source.Prefix), source.Prefix, path.Child("prefix"))...)
		}
		given := 0
		if source.ConfigMapRef != nil {
			given++
			if source.ConfigMapRef.Name == "" {
				errs = append(errs, field.Required(path.Child("configMapRef", "name"), ""))
			}
		}
		if source.SecretRef != nil {
			given++
			if source.SecretRef.Name == "" {
				errs = append(errs, field.Required(path.Child("secretRef", "name"), ""))
			}
		}
		switch given {
		case 0:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case 2:
			errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}
