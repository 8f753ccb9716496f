package objectpb

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// envelope is what Kubernetes' protobuf form of an object starts with.
const envelope = "k8s\x00"

var serializer = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

// EncodeObject gives obj in Kubernetes' protobuf envelope, with its kind from the scheme.
// It never writes to obj, which may be shared.
func EncodeObject(obj runtime.Object) ([]byte, error) {
	message, ok := obj.(runtime.ProtobufMarshaller)
	if !ok {
		return nil, fmt.Errorf("a %T has no protobuf encoding", obj)
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return nil, err
	}
	// A type that belongs to every group, such as Status, is v1 on the wire; the others have one kind each.
	kind := kinds[0]
	for _, k := range kinds {
		if k.Group == "" && k.Version == "v1" {
			kind = k
		}
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind}}
	size := message.Size()
	const fieldHeader = 11 // at most: the field's tag and its length
	data := make([]byte, len(envelope)+unknown.Size()+fieldHeader+size)
	copy(data, envelope)
	n, err := unknown.NestedMarshalTo(data[len(envelope):], message, uint64(size))
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind.Kind, err)
	}
	return data[:len(envelope)+n], nil
}

// DecodeObject reads an object of any kind in the scheme from Kubernetes' protobuf envelope.
func DecodeObject(data []byte) (runtime.Object, error) {
	obj, _, err := serializer.Decode(data, nil, nil)
	return obj, err
}
