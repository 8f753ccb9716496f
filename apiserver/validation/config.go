package validation

import (
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxData is how many bytes the data of a configmap may have, all values together.
const maxData = corev1.MaxSecretSize

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range sorted(cm.Data) {
		errs = append(errs, validateDataKey(key, field.NewPath("data"))...)
		if _, twice := cm.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range sorted(cm.BinaryData) {
		errs = append(errs, validateDataKey(key, field.NewPath("binaryData"))...)
		size += len(value)
	}
	if size > maxData {
		// The whole object is at fault, so the path is empty.
		errs = append(errs, field.TooLong(field.NewPath(""), "", maxData))
	}
	return errs
}

func validateDataKey(key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path.Key(key), key, message))
	}
	return errs
}

const frozen = "field is immutable when `immutable` is set"

func validateConfigMapUpdate(cm, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if old.Immutable != nil && *old.Immutable {
		if cm.Immutable == nil || !*cm.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
		}
		if !maps.Equal(cm.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
		}
		if !equality.Semantic.DeepEqual(cm.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), frozen))
		}
	}
	return append(errs, validateConfigMap(cm)...)
}

// requiredKeys are the keys without which a secret of the type is of no use.
var requiredKeys = map[corev1.SecretType][]string{
	corev1.SecretTypeDockercfg:        {corev1.DockerConfigKey},
	corev1.SecretTypeDockerConfigJson: {corev1.DockerConfigJsonKey},
	corev1.SecretTypeSSHAuth:          {corev1.SSHAuthPrivateKey},
	corev1.SecretTypeTLS:              {corev1.TLSCertKey, corev1.TLSPrivateKeyKey},
}

func validateSecret(secret *corev1.Secret) field.ErrorList {
	path := field.NewPath("data")
	var errs field.ErrorList
	size := 0
	for key, value := range sorted(secret.Data) {
		errs = append(errs, validateDataKey(key, path)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(path, "", corev1.MaxSecretSize))
	}
	for _, key := range requiredKeys[secret.Type] {
		if _, ok := secret.Data[key]; !ok {
			errs = append(errs, field.Required(path.Key(key), ""))
		}
	}
	switch secret.Type {
	case corev1.SecretTypeServiceAccountToken:
		if secret.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateJSON(secret, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateJSON(secret, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := secret.Data[corev1.BasicAuthUsernameKey]
		_, password := secret.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			errs = append(errs, field.Required(path.Key(corev1.BasicAuthUsernameKey), ""),
				field.Required(path.Key(corev1.BasicAuthPasswordKey), ""))
		}
	}
	return errs
}

// validateJSON refuses a value that is not JSON, without showing it.
func validateJSON(secret *corev1.Secret, key string) field.ErrorList {
	value, ok := secret.Data[key]
	if ok && !json.Valid(value) {
		return field.ErrorList{field.Invalid(field.NewPath("data").Key(key), "<secret contents redacted>", "is not valid JSON")}
	}
	return nil
}

func validateSecretUpdate(secret, old *corev1.Secret) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(secret.Type, old.Type, field.NewPath("type"))
	if old.Immutable != nil && *old.Immutable {
		if secret.Immutable == nil || !*secret.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
		}
		if !equality.Semantic.DeepEqual(secret.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
		}
	}
	return append(errs, validateSecret(secret)...)
}
