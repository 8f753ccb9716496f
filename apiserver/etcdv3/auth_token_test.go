package etcdv3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
)

// A signed token is of one revision of users and roles. etcd's client gets another by itself.
func TestSignedTokensOfEarlierRevisions(t *testing.T) {
	options := cheapPasswords
	options.AuthToken = "jwt,sign-method=ES256,priv-key=" + signingKey(t)
	_, address, root, alice := withAuth(t, options)
	ctx := t.Context()
	old, err := root.Authenticate(ctx, "root", "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Put(ctx, "w/1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := root.UserAdd(ctx, "bob", "bob"); err != nil {
		t.Fatal(err)
	}
	plain := plainConn(t, address)
	for what, err := range map[string]error{
		"put":   second(pb.NewKVClient(plain).Put(withToken(ctx, old.Token), &pb.PutRequest{Key: []byte("k")})),
		"get":   second(pb.NewKVClient(plain).Range(withToken(ctx, old.Token), &pb.RangeRequest{Key: []byte("k")})),
		"users": second(pb.NewAuthClient(plain).UserList(withToken(ctx, old.Token), &pb.AuthUserListRequest{})),
	} {
		if status.Convert(err).Message() != kv.ErrAuthOldRevision.Error() {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"put": second(alice.Put(ctx, "w/1", "")), "get": second(alice.Get(ctx, "r/1")), "another user": second(root.UserAdd(ctx, "eve", "eve")),
	} {
		if err != nil {
			t.Errorf("%s with etcd's client: %v", what, err)
		}
	}
}

// signingKey writes a private key for signed tokens to a file.
func signingKey(t testing.TB) (file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "private.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBadAuthOptions(t *testing.T) {
	for _, o := range []Options{{BcryptCost: 3}, {BcryptCost: 32}, {AuthToken: "x"}} {
		if o.Validate() == nil {
			t.Errorf("%+v is valid", o)
		}
	}
}
