package auth

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// everybody knows every caller.
type everybody struct{}

func (everybody) Authenticate(context.Context, Credentials) (User, bool, error) {
	return User{Name: "admin"}, true, nil
}

// TestImpersonationIsRefusedOverGRPC asks by metadata, the headers of gRPC.
func TestImpersonationIsRefusedOverGRPC(t *testing.T) {
	for _, name := range []string{"impersonate-user", "Impersonate-Group", "impersonate-extra-scopes"} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(name, "bob"))
		if _, err := Call(ctx, everybody{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("user-agent", "x", "impersonation", "y"))
	if _, err := Call(ctx, everybody{}); err != nil {
		t.Errorf("other metadata: %v", err)
	}
}
