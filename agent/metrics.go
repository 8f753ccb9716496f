package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/pods"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/logging"
	"github.com/ctlplane/ctlplane/supervise"
)

const collectTimeout = 5 * time.Second

var (
	podsMetric = prometheus.NewDesc("ctlplane_agent_pods", "Pods that are bound to this node.", nil, nil)
	runsMetric = prometheus.NewDesc("ctlplane_agent_containers", "Containers that the runtime has, by state.", []string{"state"}, nil)
)

// collector counts pods and containers when it is asked to.
type collector struct {
	pods    *pods.Manager
	runtime Runtime
}

func newMetrics(manager *pods.Manager, runtime Runtime, others []prometheus.Collector) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector{manager, runtime}, supervise.Panics(),
	)
	registry.MustRegister(logging.Metrics()...)
	registry.MustRegister(client.Metrics()...)
	registry.MustRegister(others...)
	return registry
}

// Describe names the metrics.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- podsMetric
	ch <- runsMetric
}

// Collect counts.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(podsMetric, prometheus.GaugeValue, float64(len(c.pods.Pods())))
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	containers, err := c.runtime.ListContainers(ctx, nil)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(runsMetric, err)
		return
	}
	counts := map[runtimeapi.ContainerState]int{}
	for _, container := range containers {
		counts[container.GetState()]++
	}
	for state, name := range map[runtimeapi.ContainerState]string{
		runtimeapi.ContainerState_CONTAINER_CREATED: "created",
		runtimeapi.ContainerState_CONTAINER_RUNNING: "running",
		runtimeapi.ContainerState_CONTAINER_EXITED:  "exited",
	} {
		ch <- prometheus.MustNewConstMetric(runsMetric, prometheus.GaugeValue, float64(counts[state]), name)
	}
}
