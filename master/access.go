package master

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
)

// KubeconfigName is the admin's kubeconfig in a master's data directory.
const KubeconfigName = "admin.kubeconfig"

// accessCheck is how often it is looked at whether the kubeconfig is still as it should be.
const accessCheck = time.Second

// adminAccess keeps the admin's kubeconfig: with the certificate that lasts longest, and with all masters' client ports, also
// those that joined later. The file is replaced as a whole; commands read it when they start.
type adminAccess struct {
	path      string
	ca        *pki.CA
	admin     *pki.Source
	api       string
	insecure  bool
	endpoints func() []string // all masters' client ports, this one's first
	logger    *slog.Logger

	written struct {
		endpoints []string
		notAfter  time.Time
	}
}

func (m *Master) adminAccess() *adminAccess {
	return &adminAccess{
		path: filepath.Join(m.cfg.DataDir, KubeconfigName), ca: m.cluster.CA, admin: m.certs.admin,
		api: m.id.APIAddress, insecure: m.cfg.KVInsecure, endpoints: m.clientEndpoints, logger: m.cfg.Logger,
	}
}

// write writes the file if there is news.
func (a *adminAccess) write() error {
	next := a.written
	next.endpoints, next.notAfter = a.endpoints(), a.admin.NotAfter()
	if slices.Equal(next.endpoints, a.written.endpoints) && next.notAfter.Equal(a.written.notAfter) {
		return nil
	}
	cert, key, err := a.admin.PEM()
	if err != nil {
		return err
	}
	err = client.WriteKubeconfig(a.path, client.Access{
		Server: "https://" + a.api, Endpoints: next.endpoints, Insecure: a.insecure, CA: a.ca.CertPEM(), Cert: cert, Key: key,
	})
	if err == nil {
		a.written = next
	}
	return err
}

// keep writes it again whenever there is news, until ctx ends.
func (a *adminAccess) keep(ctx context.Context) {
	tick := time.NewTicker(accessCheck)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := a.write()
		if err != nil && !failing {
			a.logger.Warn("the admin's kubeconfig can't be written; it is tried again every second", "file", a.path, "err", err)
		}
		failing = err != nil
	}
}
