package client

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/ctlplane/ctlplane/durable"
)

// extensionName marks what ctlplane adds to a kubeconfig's cluster: where the store's client port is.
const extensionName = "ctlplane.io/store"

// Access is all that a person or program needs to talk to a cluster as one user. It is kept in a
// kubeconfig file, so that kubectl and ctlplane read the same one.
type Access struct {
	// Server is the API server's URL.
	Server string
	// Endpoints are the masters' client ports, host:port each.
	Endpoints []string
	// Insecure says that the client ports are open in plain text.
	Insecure bool
	// CA, Cert and Key are PEM: the cluster's authority and the user's client certificate.
	CA, Cert, Key []byte
}

// storeExtension is the extension's content.
type storeExtension struct {
	Endpoints []string `json:"endpoints"`
	Insecure  bool     `json:"insecure,omitempty"`
}

// WriteKubeconfig writes access to path, readable by its owner only. The file appears whole or not at all.
func WriteKubeconfig(path string, access Access) error {
	raw, err := json.Marshal(storeExtension{Endpoints: access.Endpoints, Insecure: access.Insecure})
	if err != nil {
		return err
	}
	const name = "ctlplane"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{
		Server:                   access.Server,
		CertificateAuthorityData: access.CA,
		Extensions: map[string]runtime.Object{
			extensionName: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON},
		},
	}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: access.Cert, ClientKeyData: access.Key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: "admin"}
	config.CurrentContext = name
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return durable.Replace(path, content)
}

// ReadKubeconfig reads the access of a kubeconfig's current context.
func ReadKubeconfig(path string) (Access, error) {
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return Access{}, err
	}
	context, ok := config.Contexts[config.CurrentContext]
	if !ok {
		return Access{}, fmt.Errorf("%s has no current context", path)
	}
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	if cluster == nil || user == nil {
		return Access{}, fmt.Errorf("%s: context %s names a cluster or a user that is not in the file", path, config.CurrentContext)
	}
	access := Access{
		Server: cluster.Server,
		CA:     cluster.CertificateAuthorityData,
		Cert:   user.ClientCertificateData,
		Key:    user.ClientKeyData,
	}
	if unknown, ok := cluster.Extensions[extensionName].(*runtime.Unknown); ok {
		var store storeExtension
		if err := json.Unmarshal(unknown.Raw, &store); err != nil {
			return Access{}, fmt.Errorf("%s: extension %s: %w", path, extensionName, err)
		}
		access.Endpoints, access.Insecure = store.Endpoints, store.Insecure
	}
	return access, nil
}

// Config is what Connect needs for this access.
func (a Access) Config() (Config, error) {
	config := Config{Endpoints: a.Endpoints, Insecure: a.Insecure}
	if a.Insecure {
		return config, nil
	}
	cert, err := tls.X509KeyPair(a.Cert, a.Key)
	if err != nil {
		return config, fmt.Errorf("client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.CA) {
		return config, errors.New("no CA certificate in the cluster's access")
	}
	config.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS13}
	return config, nil
}
