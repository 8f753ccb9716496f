package embedded

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// checkPropagation refuses mounts whose propagation can't be had: what is mounted later on a private mount of the machine never
// shows in a container, whatever the container's own mount is.
func checkPropagation(given []*runtimeapi.Mount) error {
	for _, m := range given {
		if m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_PRIVATE {
			continue
		}
		source, err := filepath.EvalSymlinks(m.GetHostPath())
		if err != nil {
			return err
		}
		over, err := mountinfo.GetMounts(mountinfo.ParentsFilter(source))
		if err != nil {
			return err
		}
		if err := propagates(m, source, over); err != nil {
			return err
		}
	}
	return nil
}

// propagates tells whether the mount that source is in, the innermost of those over it, passes mounts on as m asks.
func propagates(m *runtimeapi.Mount, source string, over []*mountinfo.Info) error {
	if len(over) == 0 {
		return fmt.Errorf("path %q is in no mount", source)
	}
	in := over[0]
	for _, mount := range over[1:] {
		if len(mount.Mountpoint) >= len(in.Mountpoint) { // of two at one place the later one is on top
			in = mount
		}
	}
	tags := strings.Fields(in.Optional)
	has := func(tag string) bool {
		return slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, tag) })
	}
	switch bidirectional := m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL; {
	case bidirectional && !has("shared:"):
		return fmt.Errorf("path %q is mounted on %q but it is not a shared mount, which Bidirectional propagation needs: make it one with \"mount --make-rshared %s\"", source, in.Mountpoint, in.Mountpoint)
	case !bidirectional && !has("shared:") && !has("master:"):
		return fmt.Errorf("path %q is mounted on %q but it is not a shared or slave mount, which HostToContainer propagation needs: make it one with \"mount --make-rshared %s\"", source, in.Mountpoint, in.Mountpoint)
	}
	return nil
}
