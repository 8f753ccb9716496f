package deployment

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// templateHash names a template. Templates that are equal but for what newer versions of the API added and the user
// left out have the same hash. collisions tells apart those that have one hash though they differ.
func templateHash(template *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	encoded, err := template.Marshal()
	if err != nil {
		return "", fmt.Errorf("encoding the pod template: %w", err)
	}
	hash := fnv.New32a()
	_, _ = hash.Write(encoded) // never fails, says hash.Hash
	if collisions != nil {
		var salt [8]byte
		binary.LittleEndian.PutUint32(salt[:], uint32(*collisions))
		_, _ = hash.Write(salt[:])
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hash.Sum32()), 10)), nil
}
