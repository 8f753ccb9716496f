package embedded

import (
	"slices"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestAnUnknownCapabilityIsRefused adds and drops capabilities that do and don't exist.
func TestAnUnknownCapabilityIsRefused(t *testing.T) {
	of := func(add, drop []string) *runtimeapi.LinuxContainerSecurityContext {
		return &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: add, DropCapabilities: drop}}
	}
	for _, name := range []string{"FLY", "CAP_FLY", "", "CAP_"} {
		if _, err := capabilities(of([]string{"NET_ADMIN", name}, nil)); err == nil || !strings.Contains(err.Error(), "unknown capability") {
			t.Errorf("%q is added: %v", name, err)
		}
	}
	got, err := capabilities(of([]string{"net_admin", "CAP_SYS_TIME", "all"}, []string{"FLY", "kill"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"CAP_NET_ADMIN": true, "CAP_SYS_TIME": true, "CAP_KILL": false} {
		if slices.Contains(got.Bounding, name) != want {
			t.Errorf("%s is granted: %v, want %v", name, !want, want)
		}
	}
}
