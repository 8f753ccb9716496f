// Package rest is the Kubernetes REST face of the registry: paths, content types, verbs, discovery
// and streams as Kubernetes' clients know them.
package rest

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/openapi"
	"github.com/ctlplane/ctlplane/apiserver/patience"
	"github.com/ctlplane/ctlplane/apiserver/printing"
	"github.com/ctlplane/ctlplane/apiserver/registry"
)

// Options are what a handler is made of. Registry and Authenticator are required.
type Options struct {
	Registry *registry.Registry
	// Authenticator finds out who asks. Whom it doesn't know gets 401.
	Authenticator auth.Authenticator
	// Nodes reaches the agents for logs. Nil: pods have no log subresource.
	Nodes NodeProxy
	// GitVersion is what /version tells, as semver; its minor version is the Kubernetes API's that
	// clients may expect. Empty: DefaultVersion.
	GitVersion string
	// LiveChecks and ReadyChecks are asked by /livez and /readyz beside the handler's own.
	LiveChecks, ReadyChecks []Check
	// Metrics answers /metrics. Nil: it isn't there.
	Metrics http.Handler
	// Registerer takes the handler's own metrics. Nil: they are not kept.
	Registerer prometheus.Registerer
	// MaxReads and MaxWrites bound the requests in flight; more are told to come back. Watches and logs
	// don't count. Zero: 800 and 400.
	MaxReads, MaxWrites int
	// MaxBodies bounds the bodies that are on their way at one time, and MaxReaders the answers. Beyond it the one that takes
	// longest is cut off. Zero: 4096 and 1600.
	MaxBodies, MaxReaders int
	// Timeout bounds a request that is not a stream: its body, then what is done, then the answer. Zero: one minute.
	Timeout time.Duration
	// Patience is how long a reader may take nothing of an answer or a stream. Zero: 30 s.
	Patience time.Duration
	// Clock reckons the ages that tables show. Nil: the machine's.
	Clock clock.PassiveClock
	// Logger is told of each request, at debug level, and of failures. Nil: slog's default.
	Logger *slog.Logger
}

// DefaultVersion is the version of the API that this server follows.
const DefaultVersion = "v1.33.4+ctlplane"

func (o *Options) setDefaults() {
	if o.GitVersion == "" {
		o.GitVersion = DefaultVersion
	}
	if o.MaxReads == 0 {
		o.MaxReads = 800
	}
	if o.MaxWrites == 0 {
		o.MaxWrites = 400
	}
	if o.MaxBodies == 0 {
		o.MaxBodies = 4096
	}
	if o.MaxReaders == 0 {
		o.MaxReaders = 1600
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

const (
	// arrivingBytes bounds what is held of bodies that have not come whole.
	arrivingBytes = 256 << 20
	// leavingBytes bounds what is held of answers whose readers have not taken them.
	leavingBytes = 1 << 30
)

// Handler serves the API. Every request goes through the same steps: it is authenticated, its body is read, it takes a slot
// among those in flight, and is handed to the registry, which authorizes and does it. Clients are waited for before and
// after, never while the request has its slot.
type Handler struct {
	opts      Options
	objects   *registry.Registry
	logger    *slog.Logger
	printer   *printing.Printer
	openapi   http.Handler
	discovery *discovery
	reads     inflight
	writes    inflight
	bodies    *patience.Bodies
	readers   *patience.SlowClients
	metrics   *requestMetrics
	encodings *encodings
	paths     map[string]http.HandlerFunc // those that are no resources
}

// NewHandler makes the handler. The registry must be run by its owner.
func NewHandler(opts Options) (*Handler, error) {
	opts.setDefaults()
	var err error
	h := &Handler{
		opts: opts, objects: opts.Registry, logger: opts.Logger, printer: printing.New(opts.Clock), openapi: openapi.NewHandler(opts.GitVersion),
		reads: newInflight(opts.MaxReads), writes: newInflight(opts.MaxWrites), encodings: newEncodings(encodedBytes),
		bodies: &patience.Bodies{
			Clients: patience.NewSlowClients(opts.MaxBodies, arrivingBytes), Patience: opts.Timeout, MaxBytes: registry.MaxBodyBytes,
		},
		readers: patience.NewSlowClients(opts.MaxReaders, leavingBytes),
	}
	if h.discovery, err = newDiscovery(resource.All(), h.subresources); err != nil {
		return nil, err
	}
	if h.metrics, err = newRequestMetrics(opts.Registerer); err != nil {
		return nil, err
	}
	h.paths = map[string]http.HandlerFunc{
		"/":        h.serveRoot,
		"/api":     h.discovery.serveCore(h),
		"/apis":    h.discovery.serveGroups(h),
		"/version": h.serveVersion,
		"/livez":   h.serveHealth("livez", h.liveChecks),
		"/healthz": h.serveHealth("healthz", h.liveChecks),
		"/readyz":  h.serveHealth("readyz", h.readyChecks),
	}
	if opts.Metrics != nil {
		h.paths["/metrics"] = opts.Metrics.ServeHTTP
	}
	return h, nil
}

// subresources lists those of a kind that are served.
func (h *Handler) subresources(info *resource.Info) []string {
	served := h.objects.Subresources(info)
	if info.Resource == "pods" && info.Group == "" && h.opts.Nodes != nil {
		served = append(served[:len(served):len(served)], logSubresource)
	}
	return served
}

// route finds who answers a path that is not a resource's; nil when nobody does.
func (h *Handler) route(path string) http.HandlerFunc {
	trimmed := path
	if len(path) > 1 {
		trimmed = strings.TrimSuffix(path, "/")
	}
	if serve, ok := h.paths[trimmed]; ok {
		return serve
	}
	for _, health := range []string{"/livez/", "/readyz/", "/healthz/"} {
		if strings.HasPrefix(trimmed, health) {
			return h.paths[strings.TrimSuffix(health, "/")]
		}
	}
	if trimmed == customKinds {
		return h.serveNoCustomKinds
	}
	if strings.HasPrefix(trimmed, "/openapi/") {
		return h.openapi.ServeHTTP
	}
	if strings.HasPrefix(trimmed, "/api/") || strings.HasPrefix(trimmed, "/apis/") {
		return h.discovery.serveGroup(h, trimmed)
	}
	return nil
}
