package client

import (
	"crypto/tls"
	"io/fs"
	"os"
	"sync"
)

// OpenKubeconfig is the Config of a kubeconfig's current context, for clients that live long: each new connection shows the
// certificate that the file holds by then. Masters rewrite theirs before it ends.
func OpenKubeconfig(path string) (Config, error) {
	f := &followedAccess{path: path}
	access, err := f.read()
	if err != nil {
		return Config{}, err
	}
	config, err := access.Config()
	if err != nil || config.Insecure {
		return config, err
	}
	f.cert = &config.TLS.Certificates[0]
	config.TLS.Certificates = nil
	config.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.certificate(), nil }
	return config, nil
}

// followedAccess is the client certificate of a kubeconfig that is replaced from time to time. A file that can't be read
// leaves the last good certificate in use.
type followedAccess struct {
	path string

	mu   sync.Mutex
	info fs.FileInfo // of the file that was read last
	cert *tls.Certificate
}

func (f *followedAccess) read() (Access, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return Access{}, err
	}
	access, err := ReadKubeconfig(f.path)
	if err == nil {
		f.info = info
	}
	return access, err
}

func (f *followedAccess) certificate() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil || os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) {
		return f.cert
	}
	if access, err := f.read(); err == nil {
		if cert, err := tls.X509KeyPair(access.Cert, access.Key); err == nil {
			f.cert = &cert
		}
	}
	return f.cert
}
