package master

import (
	"encoding/json"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// onceFormed answers that the cluster is forming, as long as it is, but for what tells of this master alone.
func onceFormed(forming func() error, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := forming()
		if err == nil || r.URL.Path == "/metrics" || r.URL.Path == "/livez" || strings.HasPrefix(r.URL.Path, "/livez/") {
			handler.ServeHTTP(w, r)
			return
		}
		status := apierrors.NewServiceUnavailable(err.Error()).Status()
		status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(status) // the client is gone, otherwise
	})
}
