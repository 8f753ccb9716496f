package master

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
)

// KubeconfigName is the admin's kubeconfig in a master's data directory.
const KubeconfigName = "admin.kubeconfig"

// writeAdminAccess writes the admin's kubeconfig. The certificate is kept over restarts and renewed when
// it nears its end.
func writeAdminAccess(dataDir string, ca *pki.CA, api string, endpoints []string, insecure bool) (path string, err error) {
	dir := filepath.Join(dataDir, "pki")
	if _, err := ca.EnsureLeaf(dir, "admin", pki.AdminLeaf(), time.Now()); err != nil {
		return "", fmt.Errorf("the admin's certificate: %w", err)
	}
	certFile, keyFile := pki.LeafFiles(dir, "admin")
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return "", err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dataDir, KubeconfigName)
	return path, client.WriteKubeconfig(path, client.Access{
		Server: "https://" + api, Endpoints: endpoints, Insecure: insecure,
		CA: ca.CertPEM(), Cert: cert, Key: key,
	})
}

// serverLeaf is the certificate of a master's client and API ports: all that the master is called, inside
// the cluster and out.
func serverLeaf(name string, serviceCIDR netip.Prefix, addresses ...string) pki.Leaf {
	hosts := []string{
		name, "localhost", "127.0.0.1", "::1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		serviceCIDR.Masked().Addr().Next().String(),
	}
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			hosts = append(hosts, host)
		}
	}
	return pki.ServerLeaf(name, hosts...)
}
