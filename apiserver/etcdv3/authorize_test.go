package etcdv3

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/objectpb"
	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
)

// authority issues certificates for a test.
type authority struct {
	testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{TB: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	_, a.cert, a.key = a.sign(template, template, nil)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (tls.Certificate, *x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, cert, key
}

// config is the TLS configuration, for either side, of a certificate with this name and organization.
func (a *authority) config(name, organization string) *tls.Config {
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		Subject:     pkix.Name{CommonName: name, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	cert, _, _ := a.sign(leaf, a.cert, a.key)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
}

// files writes a certificate to files, and returns etcdctl's flags for them.
func (a *authority) files(name, organization string) []string {
	a.Helper()
	cert := a.config(name, organization).Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		a.Fatal(err)
	}
	dir := a.TempDir()
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.Fatal(err)
		}
		return path
	}
	return []string{
		"--cacert", write("ca.crt", "CERTIFICATE", a.cert.Raw),
		"--cert", write("client.crt", "CERTIFICATE", cert.Certificate[0]),
		"--key", write("client.key", "PRIVATE KEY", key),
	}
}

func TestAllowByCertificate(t *testing.T) {
	ca := newAuthority(t)
	creds := grpc.Creds(credentials.NewTLS(ca.config("a", "ctlplane:peers")))
	address := serve(t, newLocalBackend(t), ServerConfig{Allow: auth.AllowByCertificate}, Options{}, creds)

	nobody := ca.config("", "")
	nobody.Certificates = nil
	stranger := newAuthority(t).config("admin", "system:masters")
	stranger.RootCAs = nobody.RootCAs
	for _, test := range []struct {
		name        string
		tls         *tls.Config
		kv, objects codes.Code
	}{
		{"administrator", ca.config("admin", "system:masters"), codes.OK, codes.Unimplemented},
		{"master", ca.config("b", "ctlplane:peers"), codes.OK, codes.Unimplemented},
		{"node", ca.config("system:node:n1", "system:nodes"), codes.PermissionDenied, codes.Unimplemented},
		{"no certificate", nobody, codes.Unauthenticated, codes.Unauthenticated},
		{"certificate of another authority", stranger, codes.Unavailable, codes.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + address}, TLS: test.tls, Logger: zap.NewNop()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			conn := c.ActiveConnection()
			_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			if refused := test.objects != codes.Unimplemented; refused != (err != nil) {
				t.Errorf("health: %v", err)
			}
			if test.kv == codes.Unavailable {
				return // there is no connection to call anything on
			}
			_, err = c.Put(ctx, "k", "v")
			if status.Code(err) != test.kv {
				t.Errorf("put: %v", err)
			}
			stream, err := writepb.NewPipelineClient(conn).Write(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _ = stream.CloseSend(); test.kv != codes.OK {
				if _, err = stream.Recv(); status.Code(err) != test.kv {
					t.Errorf("write stream: %v", err)
				}
			}
			// The test server has no object service: to be told so is to have been let through.
			_, err = objectpb.NewObjectsClient(conn).Get(ctx, &objectpb.GetRequest{})
			if status.Code(err) != test.objects && !(test.objects == codes.Unauthenticated && status.Code(err) == codes.Unimplemented) {
				t.Errorf("objects: %v", err)
			}
		})
	}
}
