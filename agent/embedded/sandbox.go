package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/agent/network"
	"github.com/ctlplane/ctlplane/agent/record"
)

const shmBytes = "67108864"

// sandbox is what the containers of a pod share: namespaces, shared memory, name resolution, a cgroup.
type sandbox struct {
	id      string
	dir     string
	config  *runtimeapi.PodSandboxConfig
	created time.Time
	ip      string
	ready   bool
}

// sandboxRecord is a sandbox's form on disk.
type sandboxRecord struct {
	Config  json.RawMessage `json:"config"`
	Created time.Time       `json:"created"`
	IP      string          `json:"ip,omitempty"`
	// Ready is false before the sandbox is complete and from the moment that it is being stopped.
	Ready bool `json:"ready"`
}

func (s *sandbox) file() string                 { return filepath.Join(s.dir, "sandbox.json") }
func (s *sandbox) namespaces() string           { return filepath.Join(s.dir, "ns") }
func (s *sandbox) namespace(k namespace) string { return filepath.Join(s.namespaces(), k.name) }
func (s *sandbox) shm() string                  { return filepath.Join(s.dir, "shm") }
func (s *sandbox) resolvConf() string           { return filepath.Join(s.dir, "resolv.conf") }
func (s *sandbox) hostnameFile() string         { return filepath.Join(s.dir, "hostname") }

func (s *sandbox) options() *runtimeapi.NamespaceOption {
	return s.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func (s *sandbox) hostNetwork() bool {
	return s.options().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

func (s *sandbox) hostIPC() bool { return s.options().GetIpc() == runtimeapi.NamespaceMode_NODE }

// kinds are the namespaces that the sandbox pins.
func (s *sandbox) kinds() []namespace {
	var kinds []namespace
	if !s.hostNetwork() {
		kinds = append(kinds, netNamespace, utsNamespace) // who shares the node's network has its name too
	}
	if !s.hostIPC() {
		kinds = append(kinds, ipcNamespace)
	}
	return kinds
}

func (s *sandbox) save() error {
	config, err := protojson.Marshal(s.config)
	if err != nil {
		return err
	}
	return record.Write(s.file(), sandboxRecord{Config: config, Created: s.created, IP: s.ip, Ready: s.ready})
}

// loadSandboxes reads the sandboxes that an earlier Runtime left.
func (r *Runtime) loadSandboxes() error {
	entries, err := os.ReadDir(filepath.Join(r.cfg.Dir, "sandboxes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		s := &sandbox{id: entry.Name(), dir: r.sandboxDir(entry.Name())}
		var stored sandboxRecord
		if err := record.Read(s.file(), &stored); err != nil {
			// The agent died before the sandbox had a record, so nothing else knows of it.
			r.log.Warn("remove an incomplete pod sandbox", "sandbox", s.id, "error", err)
			if err := r.release(context.Background(), s); err != nil {
				return err
			}
			continue
		}
		s.config = &runtimeapi.PodSandboxConfig{}
		if err := protojson.Unmarshal(stored.Config, s.config); err != nil {
			return fmt.Errorf("%s: %w", s.file(), err)
		}
		s.created, s.ip, s.ready = stored.Created, stored.IP, stored.Ready && s.alive()
		r.sandboxes[s.id] = s
	}
	return nil
}

func (s *sandbox) alive() bool {
	for _, kind := range s.kinds() {
		if !pinned(s.namespace(kind)) {
			return false
		}
	}
	return true
}

// RunPodSandbox makes a pod's namespaces and connects them.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if handler != "" {
		return "", fmt.Errorf("runtime handler %q: there is one way to run pods here, which has no name", handler)
	}
	if config.GetMetadata() == nil {
		return "", errors.New("a sandbox needs metadata")
	}
	id := newID()
	s := &sandbox{id: id, dir: r.sandboxDir(id), config: config, created: r.cfg.Clock.Now()}
	if err := r.build(ctx, s); err != nil {
		return "", errors.Join(err, r.release(context.WithoutCancel(ctx), s))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[id] = s
	return id, nil
}

func (r *Runtime) build(ctx context.Context, s *sandbox) error {
	if err := os.MkdirAll(s.shm(), 0o700); err != nil {
		return err
	}
	if err := s.save(); err != nil { // not ready yet: from here on a crash leaves a trace that can be removed
		return err
	}
	if err := pin(s.namespaces(), hostname(s.config), s.kinds()); err != nil {
		return err
	}
	if !s.hostIPC() {
		err := unix.Mount("shm", s.shm(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size="+shmBytes)
		if err != nil {
			return fmt.Errorf("mount the pod's shared memory: %w", err)
		}
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	if !s.hostNetwork() {
		ip, err := r.cfg.Network.Setup(ctx, s.id, s.namespace(netNamespace))
		if err != nil {
			return fmt.Errorf("connect the pod to the network: %w", err)
		}
		s.ip = ip.String()
		if ports := hostPorts(s.config.GetPortMappings()); len(ports) > 0 {
			if err := r.cfg.Network.Expose(ctx, s.id, ports); err != nil {
				return fmt.Errorf("give the pod its host ports: %w", err)
			}
		}
	}
	if dir := s.config.GetLogDirectory(); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	s.ready = true
	return s.save()
}

// hostPorts are a sandbox's ports of the node, in the network's terms.
func hostPorts(mappings []*runtimeapi.PortMapping) []network.HostPort {
	var ports []network.HostPort
	for _, m := range mappings {
		if m.GetHostPort() == 0 {
			continue
		}
		ip, _ := netip.ParseAddr(m.GetHostIp()) // none is every address
		ports = append(ports, network.HostPort{
			Protocol: strings.ToLower(m.GetProtocol().String()), HostIP: ip, Port: uint16(m.GetHostPort()), PodPort: uint16(m.GetContainerPort()),
		})
	}
	return ports
}

func hostname(config *runtimeapi.PodSandboxConfig) string {
	if name := config.GetHostname(); name != "" {
		return name
	}
	return config.GetMetadata().GetName()
}

// writeFiles makes the files that name the pod and tell it how to resolve names.
func (s *sandbox) writeFiles() error {
	name := hostname(s.config)
	if s.hostNetwork() {
		if own, err := os.Hostname(); err == nil {
			name = own
		}
	}
	if err := os.WriteFile(s.hostnameFile(), []byte(name+"\n"), 0o644); err != nil {
		return err
	}
	content, err := resolvConf(s.config.GetDnsConfig())
	if err != nil {
		return err
	}
	return os.WriteFile(s.resolvConf(), content, 0o644)
}

func resolvConf(dns *runtimeapi.DNSConfig) ([]byte, error) {
	if dns == nil {
		content, err := os.ReadFile("/etc/resolv.conf")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return content, err
	}
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, server := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return []byte(b.String()), nil
}

// StopPodSandbox kills the pod's containers and disconnects it. Stopping twice is no error.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s, ok := r.sandboxes[id]
	if ok {
		s.ready = false
	}
	r.mu.Unlock()
	if !ok {
		return nil
	}
	for _, c := range r.containersOf(id) {
		if err := r.StopContainer(ctx, c.id, 0); err != nil {
			return err
		}
	}
	if err := s.save(); err != nil {
		return err
	}
	return r.disconnect(ctx, s)
}

func (r *Runtime) disconnect(ctx context.Context, s *sandbox) error {
	var err error
	if s.config == nil || !s.hostNetwork() {
		if err = r.cfg.Network.Teardown(ctx, s.id); err != nil {
			err = fmt.Errorf("disconnect the pod from the network: %w", err)
		}
	}
	return errors.Join(err, unpin(s.namespaces()), unmount(s.shm()))
}

// RemovePodSandbox removes a pod's containers and everything that it had. Removing twice is no error.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s, ok := r.sandboxes[id]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if err := r.StopPodSandbox(ctx, id); err != nil {
		return err
	}
	for _, c := range r.containersOf(id) {
		if err := r.RemoveContainer(ctx, c.id); err != nil {
			return err
		}
	}
	if err := r.release(ctx, s); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	return nil
}

// release takes away everything of a sandbox that has no containers.
func (r *Runtime) release(ctx context.Context, s *sandbox) error {
	if err := r.disconnect(ctx, s); err != nil {
		return err
	}
	if parent := s.config.GetLinux().GetCgroupParent(); parent != "" && !r.shared(s, parent) {
		if err := removeCgroup(parent); err != nil {
			return err
		}
	}
	return mountpoint.RemoveAll(s.dir)
}

// shared says whether another sandbox, a later one of the same pod, is in a cgroup.
func (r *Runtime) shared(s *sandbox, cgroup string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.sandboxes {
		if other != s && other.config.GetLinux().GetCgroupParent() == cgroup {
			return true
		}
	}
	return false
}

// PodSandboxStatus describes a sandbox.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.status()}, nil
}

func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	return &runtimeapi.PodSandboxStatus{
		Id: s.id, Metadata: s.config.GetMetadata(), State: s.state(), CreatedAt: nanoseconds(s.created),
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: s.ip},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: s.options()}},
		Labels:  s.config.GetLabels(), Annotations: s.config.GetAnnotations(),
	}
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// ListPodSandbox lists the sandboxes that filter lets through, all when it is nil.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*runtimeapi.PodSandbox
	for _, s := range r.sandboxes {
		if filter.GetId() != "" && filter.GetId() != s.id ||
			filter.GetState() != nil && filter.GetState().State != s.state() ||
			!selected(filter.GetLabelSelector(), s.config.GetLabels()) {
			continue
		}
		list = append(list, &runtimeapi.PodSandbox{
			Id: s.id, Metadata: s.config.GetMetadata(), State: s.state(), CreatedAt: nanoseconds(s.created),
			Labels: s.config.GetLabels(), Annotations: s.config.GetAnnotations(),
		})
	}
	return list, nil
}

func selected(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}
