package defaults

import corev1 "k8s.io/api/core/v1"

// applySecret makes a secret one of no special type, and takes what was written as text into the
// data: stringData is only for writing and is never stored.
func applySecret(secret *corev1.Secret) {
	set(&secret.Type, corev1.SecretTypeOpaque)
	for key, text := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(text)
	}
	secret.StringData = nil
}
