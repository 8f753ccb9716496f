package objectpb

import (
	"net/http"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusType names the detail of a gRPC error that holds a protobuf meta/v1 Status.
const statusType = "type.googleapis.com/k8s.io.apimachinery.pkg.apis.meta.v1.Status"

// StatusError gives a Kubernetes failure as a gRPC error: the nearest code, and the Status itself as a detail.
func StatusError(s metav1.Status) error {
	wire := &spb.Status{Code: int32(codeOf(s)), Message: s.Message}
	if detail, err := s.Marshal(); err == nil {
		wire.Details = []*anypb.Any{{TypeUrl: statusType, Value: detail}}
	}
	return status.ErrorProto(wire)
}

// StatusOf finds the Kubernetes failure in a gRPC error that StatusError made; false for any other.
func StatusOf(err error) (metav1.Status, bool) {
	wire, ok := status.FromError(err)
	if !ok {
		return metav1.Status{}, false
	}
	for _, detail := range wire.Proto().GetDetails() {
		var s metav1.Status
		if detail.GetTypeUrl() == statusType && s.Unmarshal(detail.GetValue()) == nil {
			return s, true
		}
	}
	return metav1.Status{}, false
}

// codesByReason maps what HTTP's code alone does not tell.
var codesByReason = map[metav1.StatusReason]codes.Code{
	metav1.StatusReasonAlreadyExists: codes.AlreadyExists,
	metav1.StatusReasonConflict:      codes.Aborted,
	metav1.StatusReasonExpired:       codes.OutOfRange,
}

var codesByHTTP = map[int32]codes.Code{
	http.StatusBadRequest:            codes.InvalidArgument,
	http.StatusUnauthorized:          codes.Unauthenticated,
	http.StatusForbidden:             codes.PermissionDenied,
	http.StatusNotFound:              codes.NotFound,
	http.StatusMethodNotAllowed:      codes.Unimplemented,
	http.StatusConflict:              codes.Aborted,
	http.StatusGone:                  codes.OutOfRange,
	http.StatusRequestEntityTooLarge: codes.ResourceExhausted,
	http.StatusUnsupportedMediaType:  codes.InvalidArgument,
	http.StatusUnprocessableEntity:   codes.InvalidArgument,
	http.StatusTooManyRequests:       codes.ResourceExhausted,
	http.StatusServiceUnavailable:    codes.Unavailable,
	http.StatusGatewayTimeout:        codes.DeadlineExceeded,
}

func codeOf(s metav1.Status) codes.Code {
	if code, ok := codesByReason[s.Reason]; ok {
		return code
	}
	if code, ok := codesByHTTP[s.Code]; ok {
		return code
	}
	return codes.Internal
}
