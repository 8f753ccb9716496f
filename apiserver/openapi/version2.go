package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/api/resource"
)

// Content types of the v2 document. Clients ask for protobuf by the name with the @.
const (
	jsonType        = "application/json"
	protobufType    = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protobufOldType = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
)

// version2 serves the one OpenAPI v2 document, which is only for clients that know no better: it is
// made, and each of its forms encoded, when it is first asked for.
type version2 struct {
	json, protobuf func() (encoded, error)
}

type encoded struct {
	bytes []byte
	etag  string
}

func newVersion2(version string) *version2 {
	asJSON := sync.OnceValues(func() (encoded, error) {
		swagger, err := describe(resource.All(), version, version2Dialect)
		if err != nil {
			return encoded{}, err
		}
		b, err := swagger.MarshalJSON()
		return newEncoded(b), err
	})
	asProtobuf := sync.OnceValues(func() (encoded, error) {
		source, err := asJSON()
		if err != nil {
			return encoded{}, err
		}
		document, err := openapi_v2.ParseDocument(source.bytes)
		if err != nil {
			return encoded{}, err
		}
		b, err := proto.Marshal(document)
		return newEncoded(b), err
	})
	return &version2{json: asJSON, protobuf: asProtobuf}
}

func newEncoded(b []byte) encoded {
	sum := sha256.Sum256(b)
	return encoded{bytes: b, etag: strconv.Quote(hex.EncodeToString(sum[:]))}
}

func (v *version2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form, contentType := v.json, jsonType
	accept := r.Header.Get("Accept")
	switch {
	case strings.Contains(accept, protobufType), strings.Contains(accept, protobufOldType):
		form, contentType = v.protobuf, protobufType
	case accept == "", strings.Contains(accept, jsonType), strings.Contains(accept, "*/*"), strings.Contains(accept, "application/*"):
	default:
		http.Error(w, "406 the OpenAPI document is there as "+jsonType+" and "+protobufType, http.StatusNotAcceptable)
		return
	}
	document, err := form()
	if err != nil {
		http.Error(w, "500 make the OpenAPI document: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Etag", document.etag)
	w.Header().Set("Vary", "Accept")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document.bytes))
}
