package master

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// certificates are a master's own. The renewer keeps all of them, that towards the other masters too, from ending.
type certificates struct {
	server    *pki.Source // of the client and API ports
	apiserver *pki.Source // shown to agents; nil where there is only the store
	admin     *pki.Source // in the admin's kubeconfig; nil where there is only the store
	renewer   *pki.Renewer
}

// openCertificates opens the master's certificates, and makes those that are missing or not good any more.
func (m *Master) openCertificates() (*certificates, error) {
	c := &certificates{renewer: pki.NewRenewer(m.cluster.CA, m.cfg.Logger)}
	c.renewer.Keep(m.cluster.Peer)
	dir := raftstore.PKIDir(m.cfg.DataDir)
	open := func(name string, leaf pki.Leaf, source **pki.Source) (err error) {
		if *source, err = m.cluster.CA.EnsureLeaf(dir, name, leaf, time.Now()); err == nil {
			c.renewer.Keep(m.cluster.CA.Renewal(name, dir, name, leaf, *source))
		}
		return err
	}
	leaf := serverLeaf(m.id.Name, m.cfg.ServiceCIDR, m.id.PeerAddress, m.id.ClientAddress, m.id.APIAddress)
	if err := open("server", leaf, &c.server); err != nil || m.cfg.StoreOnly {
		return c, err
	}
	if err := open("apiserver", pki.APIServerLeaf(), &c.apiserver); err != nil {
		return nil, err
	}
	return c, open("admin", pki.AdminLeaf(), &c.admin)
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

// A caller's certificate counts as long as it lasts, on an open connection too. So both faces ask callers for a new
// connection, on which they show a renewed certificate, before that; what has begun on the old one goes on there.

// connectionAge is how old a connection of the client port gets. A certificate is renewed with a third of its life left: one
// connection that began just before ends while there is still time.
func connectionAge(certLifetime time.Duration) time.Duration { return certLifetime / 6 }

// renewingConnections ends a connection, gracefully, after a request whose caller's certificate ends soon.
func renewingConnections(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && endsSoon(r.TLS.PeerCertificates[0], time.Now()) {
			w.Header().Set("Connection", "close") // in HTTP/2 a GOAWAY
		}
		next.ServeHTTP(w, r)
	})
}

// endsSoon tells whether less than a tenth of a certificate's validity is left.
func endsSoon(cert *x509.Certificate, now time.Time) bool {
	return cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/10
}
