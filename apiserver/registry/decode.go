package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"
)

// Media types that objects may come in.
const (
	MediaJSON     = "application/json"
	MediaYAML     = "application/yaml"
	MediaProtobuf = "application/vnd.kubernetes.protobuf"
)

var (
	jsonDecoder = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		jsonserializer.SerializerOptions{Strict: true})
	yamlDecoder = jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		jsonserializer.SerializerOptions{Yaml: true, Strict: true})
)

// DecodeObject reads an object that a client sent, in the content type that it states. An object that
// doesn't say of which kind it is, is of kind expected. Fields that the kind doesn't have, or that are
// there twice, are an error, a warning or ignored, as fieldValidation says; empty means a warning. A word that it doesn't know
// means a warning too: the write that the object is for refuses such options.
func DecodeObject(data []byte, contentType string, expected schema.GroupVersionKind, fieldValidation string, warn func(string)) (runtime.Object, error) {
	decoder, err := decoderFor(contentType)
	if err != nil {
		return nil, err
	}
	obj, _, err := decoder.Decode(data, &expected, nil)
	if runtime.IsStrictDecodingError(err) {
		if err := lenient(err, fieldValidation, warn); err != nil {
			return nil, err
		}
		return obj, nil
	}
	switch {
	case runtime.IsNotRegisteredError(err):
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the body is of a kind that this cluster does not serve: %v", err))
	case err != nil:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the body can't be read as a %s: %v", expected.Kind, err))
	}
	return obj, nil
}

func decoderFor(contentType string) (runtime.Decoder, error) {
	media := MediaJSON
	if contentType != "" {
		parsed, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return nil, unsupportedMedia(contentType, MediaJSON, MediaYAML, MediaProtobuf)
		}
		media = parsed
	}
	switch media {
	case MediaJSON:
		return jsonDecoder, nil
	case MediaYAML, "application/x-yaml", "text/yaml":
		return yamlDecoder, nil
	case MediaProtobuf:
		return stored, nil
	}
	return nil, unsupportedMedia(media, MediaJSON, MediaYAML, MediaProtobuf)
}

func unsupportedMedia(got string, allowed ...string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 415, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s (got %q)",
			strings.Join(allowed, ", "), got),
	}}
}

// lenient decides what becomes of fields that a kind doesn't have.
func lenient(err error, fieldValidation string, warn func(string)) error {
	switch fieldValidation {
	case metav1.FieldValidationStrict:
		return apierrors.NewBadRequest(err.Error())
	case metav1.FieldValidationIgnore:
		return nil
	}
	if strict, ok := runtime.AsStrictDecodingError(err); ok && warn != nil {
		for _, e := range strict.Errors() {
			warn(e.Error())
		}
	}
	return nil
}

// unmarshal reads the JSON of a patched object into a typed one, with the same leniency.
func unmarshal(data []byte, into runtime.Object, fieldValidation string, warn func(string)) error {
	strict, err := kjson.UnmarshalStrict(data, into)
	if err != nil {
		return invalidPatch(err)
	}
	if len(strict) > 0 {
		return lenient(runtime.NewStrictDecodingError(strict), fieldValidation, warn)
	}
	return nil
}

// invalidPatch says that what a patch makes of an object is no such object.
func invalidPatch(err error) error {
	var typeError *json.UnmarshalTypeError
	if errors.As(err, &typeError) {
		err = fmt.Errorf("field %s takes no %s", typeError.Field, typeError.Value)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 422, Reason: metav1.StatusReasonInvalid,
		Message: "the patch does not lead to a valid object: " + err.Error(),
	}}
}
