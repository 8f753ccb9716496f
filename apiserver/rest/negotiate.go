package rest

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/apiserver/registry"
)

// shape is what an answer shows of objects.
type shape int

const (
	whole shape = iota
	asTable
	asMetadata
)

// format is how an answer is written.
type format struct {
	media   string
	pretty  bool
	shape   shape
	version string // of the shape's group, for tables: v1 or v1beta1
	encoder runtime.Encoder
}

// The encoders write objects as they are, without touching them: objects are shared. They bear their
// kind already.
var (
	jsonEncoder       = json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{StreamingCollectionsEncoding: true})
	prettyJSONEncoder = json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Pretty: true})
	yamlEncoder       = json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true})
	protobufEncoder   = protobuf.NewSerializerWithOptions(scheme.Scheme, scheme.Scheme, protobuf.SerializerOptions{StreamingCollectionsEncoding: true})
)

var mediaTypes = []string{registry.MediaJSON, registry.MediaYAML, registry.MediaProtobuf}

// acceptLimit bounds the Accept header that is looked at.
const acceptLimit = 4096

// negotiate chooses the format of an answer. shaped tells that the answer is objects, of which a table
// or the metadata alone may be asked for.
func negotiate(r *http.Request, shaped bool) (format, error) {
	pretty, _ := strconv.ParseBool(r.URL.Query().Get("pretty"))
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return newFormat(registry.MediaJSON, pretty), nil
	}
	if len(accept) > acceptLimit {
		return format{}, notAcceptable()
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		media, ok := matchMedia(clause.Type, clause.SubType)
		if !ok {
			continue
		}
		wantsPretty, _ := strconv.ParseBool(clause.Params["pretty"])
		f := newFormat(media, pretty || wantsPretty)
		if f.setShape(clause.Params, shaped) {
			return f, nil
		}
	}
	return format{}, notAcceptable()
}

func matchMedia(main, sub string) (string, bool) {
	if main == "*" && sub == "*" || main == "application" && sub == "*" {
		return registry.MediaJSON, true
	}
	for _, media := range mediaTypes {
		if main+"/"+sub == media {
			return media, true
		}
	}
	return "", false
}

func newFormat(media string, pretty bool) format {
	f := format{media: media, pretty: pretty}
	switch {
	case media == registry.MediaProtobuf:
		f.encoder = protobufEncoder
	case media == registry.MediaYAML:
		f.encoder = yamlEncoder
	case pretty:
		f.encoder = prettyJSONEncoder
	default:
		f.encoder = jsonEncoder
	}
	return f
}

// setShape reads the parameters as, g and v; false when what they ask for is not to be had.
func (f *format) setShape(params map[string]string, shaped bool) bool {
	as := params["as"]
	if as == "" {
		return true
	}
	f.version = params["v"]
	if !shaped || params["g"] != metav1.GroupName || f.version != "v1" && f.version != "v1beta1" {
		return false
	}
	switch as {
	case "Table":
		f.shape = asTable
		return f.media != registry.MediaProtobuf
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		f.shape = asMetadata
		return f.version == "v1"
	}
	return false
}

func notAcceptable() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join(mediaTypes, ", "),
	}}
}

// isDiscovery tells whether a clause of an Accept header asks for the aggregated discovery document,
// and of which version.
func aggregatedVersion(r *http.Request) string {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil || media != registry.MediaJSON && media != registry.MediaProtobuf {
			continue
		}
		if params["g"] == "apidiscovery.k8s.io" && params["as"] == "APIGroupDiscoveryList" && media == registry.MediaJSON {
			if v := params["v"]; v == "v2" || v == "v2beta1" {
				return v
			}
		} else if params["as"] == "" {
			return ""
		}
	}
	return ""
}
