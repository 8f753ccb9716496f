package auth

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// The organizations of client certificates that the client port tells apart.
const (
	adminOrganization = "system:masters"
	peerOrganization  = "ctlplane:peers"
)

// openServices are those that every certificate of the cluster may call: the object service decides for itself, object by
// object, and health is no secret.
var openServices = []string{
	"/" + objectpb.Objects_ServiceDesc.ServiceName + "/",
	"/grpc.health.v1.Health/",
}

// AllowByCertificate is the Allow of a TLS client port: administrators and masters may do all, any other certificate of the
// cluster only what stands above single keys, since keys hold every node's secrets.
func AllowByCertificate(ctx context.Context, fullMethod string) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "the call has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return status.Error(codes.Unauthenticated, "no client certificate of this cluster: give one, such as that of admin.kubeconfig")
	}
	subject := info.State.VerifiedChains[0][0].Subject
	if adminSubject(subject) {
		return nil
	}
	for _, service := range openServices {
		if strings.HasPrefix(fullMethod, service) {
			return nil
		}
	}
	return status.Error(codes.PermissionDenied, fmt.Sprintf("%q may not call %s: the key-value store is for certificates of %s",
		subject.CommonName, fullMethod, adminOrganization))
}

// adminSubject tells whether a certificate is that of an administrator or a master.
func adminSubject(subject pkix.Name) bool {
	return slices.Contains(subject.Organization, adminOrganization) || slices.Contains(subject.Organization, peerOrganization)
}
