package master

import (
	"net/http"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/logging"
	"github.com/ctlplane/ctlplane/raftstore"
	"github.com/ctlplane/ctlplane/supervise"
)

// newMetrics is the master's registry of metrics: the process's, the store's, and what the parts add.
func newMetrics(m *raftstore.Member) (*prometheus.Registry, http.Handler) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.Metrics(),
		supervise.Panics(),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "os_fd_used", Help: "File descriptors that are open."}, openFiles),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "os_fd_limit", Help: "How many file descriptors may be open."}, maxFiles),
	)
	metrics.MustRegister(logging.Metrics()...)
	metrics.MustRegister(client.Metrics()...)
	return metrics, promhttp.InstrumentMetricHandler(metrics, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
}

// countTraffic shows the bytes of the client port's gRPC connections, as they cross the wire.
func countTraffic(metrics prometheus.Registerer, traffic *port.Traffic) {
	for _, c := range []struct {
		name, help string
		bytes      *atomic.Uint64
	}{
		{"etcd_network_client_grpc_received_bytes_total", "Bytes from clients that speak gRPC.", &traffic.Received},
		{"etcd_network_client_grpc_sent_bytes_total", "Bytes to clients that speak gRPC.", &traffic.Sent},
	} {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.bytes.Load()) }))
	}
}

// openFiles and maxFiles are what the process collector shows, too; etcd has names of its own for it. They are 0 where the system
// does not tell.
func openFiles() float64 {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return float64(len(names) - 1) // dir itself is none of them
}

func maxFiles() float64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return float64(limit.Cur)
}
