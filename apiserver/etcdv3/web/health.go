package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Store is the member whose health is told.
type Store interface {
	// ReadState reads something of this member's own state as it is, however far that is behind and whatever alarm is raised.
	ReadState(context.Context) error
	// LinearizableRead waits until a read sees all that was written.
	LinearizableRead(context.Context) error
	// HasLeader tells whether a leader is known, IsLearner whether this member has no vote.
	HasLeader() bool
	IsLearner() bool
	// Alarms are those that are raised.
	Alarms() []*pb.AlarmMember
}

// checkTimeout bounds one check.
const checkTimeout = 5 * time.Second

// HealthMetrics count health checks under etcd's names.
type HealthMetrics struct {
	success, failures prometheus.Counter
	result            *prometheus.GaugeVec
	total             *prometheus.CounterVec
}

// NewHealthMetrics registers the metrics.
func NewHealthMetrics(registerer prometheus.Registerer) *HealthMetrics {
	m := &HealthMetrics{
		success:  prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success", Help: "Calls of /health that found the member well."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures", Help: "Calls of /health that did not."}),
		result: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck",
			Help: "The last result of each check of /livez and /readyz; 1 is well."}, []string{"type", "name"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total",
			Help: "Checks of /livez and /readyz, by their result."}, []string{"type", "name", "status"}),
	}
	registerer.MustRegister(m.success, m.failures, m.result, m.total)
	return m
}

func (m *HealthMetrics) health(err error) {
	switch {
	case m == nil:
	case err == nil:
		m.success.Inc()
	default:
		m.failures.Inc()
	}
}

func (m *HealthMetrics) check(kind, name string, err error) {
	switch {
	case m == nil:
	case err == nil:
		m.result.WithLabelValues(kind, name).Set(1)
		m.total.WithLabelValues(kind, name, "success").Inc()
	default:
		m.result.WithLabelValues(kind, name).Set(0)
		m.total.WithLabelValues(kind, name, "error").Inc()
	}
}

// health answers how the member is.
type health struct {
	store   Store
	metrics *HealthMetrics
	logger  *slog.Logger
}

// check is one thing that has to be well.
type check struct {
	name string
	run  func(context.Context) error
}

func (h *health) addTo(mux *http.ServeMux) {
	mux.Handle("/health", onlyGet(http.HandlerFunc(h.serveHealth)))
	local := check{"serializable_read", func(ctx context.Context) error { return h.read(ctx, true) }}
	h.addChecks(mux, "livez", local)
	h.addChecks(mux, "readyz",
		check{"data_corruption", h.notCorrupt},
		local,
		check{"linearizable_read", func(ctx context.Context) error { return h.read(ctx, false) }},
		check{"non_learner", h.notLearner},
	)
}

// serveHealth is etcd's oldest check: no alarms but those that the query excludes, a leader and a read that sees all that was
// written; with "serializable=true" any read, whatever the others do.
func (h *health) serveHealth(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	serializable := query.Get("serializable") == "true"
	err := h.noAlarm(query["exclude"])
	if err == nil && !serializable && !h.store.HasLeader() {
		err = errors.New("RAFT NO LEADER")
	}
	if err == nil {
		if failed := h.read(r.Context(), serializable); failed != nil {
			err = fmt.Errorf("RANGE ERROR:%w", failed)
		}
	}
	h.metrics.health(err)
	// The shape that callers of etcd's know.
	answer := struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{Health: "true"}
	code := http.StatusOK
	if err != nil {
		answer.Health, answer.Reason, code = "false", err.Error(), http.StatusServiceUnavailable
		h.logger.Warn("/health: not well", "reason", answer.Reason)
	}
	writeJSON(w, code, answer)
}

func (h *health) noAlarm(excluded []string) error {
	for _, alarm := range h.store.Alarms() {
		if !slices.Contains(excluded, alarm.Alarm.String()) {
			return fmt.Errorf("ALARM %s", alarm.Alarm)
		}
	}
	return nil
}

func (h *health) notCorrupt(context.Context) error {
	for _, alarm := range h.store.Alarms() {
		if alarm.Alarm == pb.AlarmType_CORRUPT {
			return fmt.Errorf("alarm activated: %s", alarm.Alarm)
		}
	}
	return nil
}

func (h *health) notLearner(context.Context) error {
	if h.store.IsLearner() {
		return errors.New("not supported for learner")
	}
	return nil
}

// read reads the state. Alarms are checks of their own. A process whose state can be read is not to be ended because its member is
// behind, cut off from the others, or corrupt: the next one would be so as well.
func (h *health) read(ctx context.Context, serializable bool) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if !serializable {
		if err := h.store.LinearizableRead(ctx); err != nil {
			return err
		}
	}
	return h.store.ReadState(ctx)
}

// addChecks serves all checks of a kind under its name, and each under its own below that.
func (h *health) addChecks(mux *http.ServeMux, kind string, checks ...check) {
	mux.Handle("/"+kind, onlyGet(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		excluded := r.URL.Query()["exclude"]
		h.serveChecks(w, r, kind, slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return slices.Contains(excluded, c.name) }))
	})))
	for _, one := range checks {
		mux.Handle("/"+kind+"/"+one.name, onlyGet(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.serveChecks(w, r, kind, []check{one})
		})))
	}
}

func (h *health) serveChecks(w http.ResponseWriter, r *http.Request, kind string, checks []check) {
	var report strings.Builder
	healthy := true
	for _, c := range checks {
		err := c.run(r.Context())
		h.metrics.check(kind, c.name, err)
		if err != nil {
			healthy = false
			fmt.Fprintf(&report, "[-]%s failed: %v\n", c.name, err)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.name)
	}
	if !healthy {
		h.logger.Warn("/"+kind+": not well", "reason", report.String())
		http.Error(w, report.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, verbose := r.URL.Query()["verbose"]; !verbose {
		report.Reset()
	}
	report.WriteString("ok\n")
	_, _ = w.Write([]byte(report.String())) // a client that has gone away has nothing to be told
}
