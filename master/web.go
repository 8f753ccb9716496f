package master

import (
	"context"
	"net/http"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/web"
	"github.com/ctlplane/ctlplane/raftstore"
)

// webConfig is what is served over HTTP, but for the gateway.
func (m *Master) webConfig(metrics prometheus.Registerer, metricsHandler http.Handler) web.Config {
	access := web.Access{CORS: m.cfg.HTTP.CORS, Hosts: m.cfg.HTTP.HostWhitelist}
	if m.cfg.KV.ClientCertAuth {
		access.RefusesCommonName = func() bool { return m.cluster.Member.Auth().Enabled() }
	}
	return web.Config{
		Store: storeHealth{m.cluster.Member, m.cluster}, Metrics: metricsHandler, HealthMetrics: web.NewHealthMetrics(metrics),
		Pprof:  m.cfg.HTTP.Pprof,
		Access: access,
		Logger: m.cfg.Logger,
	}
}

// storeHealth is the member as health checks see it.
type storeHealth struct {
	*raftstore.Member
	cluster *raftstore.Cluster
}

var _ web.Store = storeHealth{}

// LinearizableRead implements web.Store. Reads that clients can't make yet fail.
func (s storeHealth) LinearizableRead(ctx context.Context) error {
	if err := s.cluster.Forming(); err != nil {
		return err
	}
	return s.Member.LinearizableRead(ctx)
}

// HasLeader implements web.Store.
func (s storeHealth) HasLeader() bool { return s.Status().Leader != 0 }

// IsLearner implements web.Store.
func (s storeHealth) IsLearner() bool { return s.Status().IsLearner }

// Alarms implements web.Store.
func (s storeHealth) Alarms() []*pb.AlarmMember { return s.Status().Alarms }
