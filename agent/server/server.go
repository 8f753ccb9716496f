// Package server is the agent's own HTTPS server: logs of the node's containers, its pods, its health and its
// metrics, for the cluster's API server and its administrators.
package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
)

// adminGroup is the organization in a client's certificate that lets it in.
const adminGroup = "system:masters"

// drainTime is how long answers under way may take when the server ends.
const drainTime = 2 * time.Second

// Pods is what the server tells about.
type Pods interface {
	// Pods are the pods of this node as the cluster has them.
	Pods() []*corev1.Pod
	// Running are the pods that have something running here, whatever the cluster has.
	Running(ctx context.Context) ([]*corev1.Pod, error)
	LogSource
}

// Config is what a Server needs.
type Config struct {
	Listener net.Listener
	// TLS has the server's certificate and the CA of its clients.
	TLS     *tls.Config
	Pods    Pods
	Metrics prometheus.Gatherer
	Logger  *slog.Logger
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	if cfg.TLS == nil || cfg.TLS.ClientCAs == nil {
		return errors.New("the agent's server needs a certificate and the CA of its clients: nobody may read logs without showing who he is")
	}
	config := cfg.TLS.Clone()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	server := &http.Server{
		Handler: onlyAdmins(Handler(cfg)), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(cfg.Listener, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if server.Shutdown(drain) != nil {
		_ = server.Close()
	}
	<-failed
	return nil
}

// Handler answers the server's requests; it does not ask who makes them.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) { writePods(w, cfg.Pods.Pods()) })
	mux.HandleFunc("GET /runningpods/{$}", func(w http.ResponseWriter, r *http.Request) {
		running, err := cfg.Pods.Running(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writePods(w, running)
	})
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		serveLogs(w, r, cfg.Pods)
	})
	return mux
}

// onlyAdmins lets in whose certificate is of the administrators' group.
func onlyAdmins(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "a client certificate of this cluster is needed", http.StatusUnauthorized)
			return
		}
		if !slices.Contains(r.TLS.PeerCertificates[0].Subject.Organization, adminGroup) {
			http.Error(w, "only members of "+adminGroup+" may ask the agent: ask the API server", http.StatusForbidden)
			return
		}
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), "impersonate-") {
				http.Error(w, "the agent does not impersonate users: leave out the header "+name, http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func writePods(w http.ResponseWriter, pods []*corev1.Pod) {
	list := corev1.PodList{Items: []corev1.Pod{}}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, pod := range pods {
		list.Items = append(list.Items, *pod)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // the client went away: there is nobody to tell
}
