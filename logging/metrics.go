package logging

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// The log is the process's, and so are these.
var (
	messages = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ctlplane_log_messages_total", Help: "Lines for the log, by level; those that were left out are among them.",
	}, []string{"level"})
	leftOut = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ctlplane_log_messages_suppressed_total", Help: "Lines that the log leaves out because too many of their kind came, by level.",
	}, []string{"level"})
)

// Metrics counts what all limiters of the process were given, and what they left out.
func Metrics() []prometheus.Collector { return []prometheus.Collector{messages, leftOut} }

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warn"
	}
	return "info"
}
