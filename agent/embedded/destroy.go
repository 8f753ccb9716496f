package embedded

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/agent/network"
)

// Destroy kills all containers and removes everything that the runtime made, but for images. The runtime
// is closed afterwards.
func (r *Runtime) Destroy(ctx context.Context) error {
	var failed []error
	for id, cgroup := range r.podCgroups() {
		failed = append(failed, r.RemovePodSandbox(ctx, id), removeEmptyParents(cgroup))
	}
	return errors.Join(append(failed, r.Close(ctx), mountpoint.Detach(r.cfg.Dir))...)
}

// podCgroups gives the cgroup of each sandbox by its id.
func (r *Runtime) podCgroups() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]string{}
	for id, s := range r.sandboxes {
		all[id] = s.config.GetLinux().GetCgroupParent()
	}
	return all
}

// DestroyDir does what Destroy does for the directory of a runtime that died, and removes the directory. Pods'
// links to the network go with their namespaces; what else a network has is its own to remove.
func DestroyDir(ctx context.Context, dir string, log *slog.Logger) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	r, err := New(Config{Dir: dir, Network: noNetwork{}, Logger: log})
	if err != nil {
		return err
	}
	if err := r.Destroy(ctx); err != nil {
		return err
	}
	return mountpoint.RemoveAll(r.cfg.Dir)
}

// noNetwork is for pods that are only taken away.
type noNetwork struct{}

func (noNetwork) Setup(context.Context, string, string) (netip.Addr, error) {
	return netip.Addr{}, errors.New("there is no network")
}
func (noNetwork) Expose(context.Context, string, []network.HostPort) error {
	return errors.New("there is no network")
}
func (noNetwork) Teardown(context.Context, string) error { return nil }
