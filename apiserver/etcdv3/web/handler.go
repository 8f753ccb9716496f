// Package web is what the client port says over HTTP/1, with etcd's paths and answers: health, version, metrics, profiles and
// the JSON gateway.
package web

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"go.etcd.io/etcd/api/v3/version"
)

// Config says what is served. Store, Metrics and Logger are required.
type Config struct {
	Store Store
	// Gateway serves /v3/; nil: there is none.
	Gateway http.Handler
	// Metrics serves /metrics.
	Metrics http.Handler
	// HealthMetrics count the checks; nil: they are not counted.
	HealthMetrics *HealthMetrics
	// Pprof serves /debug/pprof/, which shows how the process works inside.
	Pprof bool
	// Access says which pages of browsers may call.
	Access Access
	Logger *slog.Logger
}

// NewHandler is what the client port serves.
func NewHandler(c Config) http.Handler {
	mux := newMonitoringMux(c)
	mux.Handle("/debug/vars", onlyGet(http.HandlerFunc(serveVars)))
	if c.Gateway != nil {
		mux.Handle("/v3/", c.Gateway)
	}
	if c.Pprof {
		addProfiles(mux)
	}
	return c.Access.guard(mux, c.Logger)
}

// NewMonitoringHandler is what a port for monitoring alone serves: health, version and metrics. No gateway, and no profiles.
func NewMonitoringHandler(c Config) http.Handler { return newMonitoringMux(c) }

func newMonitoringMux(c Config) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/metrics", onlyGet(c.Metrics))
	mux.Handle("/version", onlyGet(http.HandlerFunc(serveVersion)))
	h := health{store: c.Store, metrics: c.HealthMetrics, logger: c.Logger}
	h.addTo(mux)
	return mux
}

// serveVersion tells the version of etcd whose API this is, as Maintenance.Status does. The cluster and its data have a minor
// version, without patches.
func serveVersion(w http.ResponseWriter, _ *http.Request) {
	minor := version.Cluster(version.Version) + ".0"
	writeJSON(w, http.StatusOK, version.Versions{Server: version.Version, Cluster: minor, Storage: minor})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	content, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(content) // a client that has gone away has nothing to be told
}

// onlyGet refuses other methods, as etcd does.
func onlyGet(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		h.ServeHTTP(w, r)
	})
}
