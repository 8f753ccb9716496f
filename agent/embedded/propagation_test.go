package embedded

import (
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPropagationThatCantBeHadIsRefused has volumes in mounts of each kind: on a private one a container started, and never saw what
// was mounted later.
func TestPropagationThatCantBeHadIsRefused(t *testing.T) {
	const follows, both = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	private, shared := &mountinfo.Info{Mountpoint: "/"}, &mountinfo.Info{Mountpoint: "/", Optional: "shared:1"}
	slave := &mountinfo.Info{Mountpoint: "/data", Optional: "master:1"}
	inner := &mountinfo.Info{Mountpoint: "/data"}
	for _, c := range []struct {
		name string
		mode runtimeapi.MountPropagation
		over []*mountinfo.Info
		want string // of the error
	}{
		{"private", follows, []*mountinfo.Info{private}, `path "/data/x" is mounted on "/" but it is not a shared or slave mount`},
		{"shared", follows, []*mountinfo.Info{shared}, ""},
		{"slave", follows, []*mountinfo.Info{private, slave}, ""},
		{"both ways, private", both, []*mountinfo.Info{private}, `is not a shared mount, which Bidirectional propagation needs: make it one with "mount --make-rshared /"`},
		{"both ways, slave", both, []*mountinfo.Info{shared, slave}, `path "/data/x" is mounted on "/data" but it is not a shared mount`},
		{"both ways, shared", both, []*mountinfo.Info{shared}, ""},
		{"private within shared", follows, []*mountinfo.Info{shared, inner}, `mounted on "/data" but`},
		{"private under slave", follows, []*mountinfo.Info{shared, inner, slave}, ""},
		{"slave and shared", both, []*mountinfo.Info{{Mountpoint: "/", Optional: "shared:2 master:1"}}, ""},
		{"nowhere", follows, nil, "is in no mount"},
	} {
		err := propagates(&runtimeapi.Mount{Propagation: c.mode}, "/data/x", c.over)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
