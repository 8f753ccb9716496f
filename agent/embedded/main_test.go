package embedded_test

import (
	"context"
	"net/netip"
	"os"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/demo"
	"github.com/ctlplane/ctlplane/agent/embedded"
	"github.com/ctlplane/ctlplane/agent/network"
)

// The test binary is also the program of the image that the tests run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case demo.Command:
			os.Exit(demo.Main())
		case "say":
			os.Exit(say(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// loopback is a network in which a pod has its loopback device and nothing else.
type loopback struct{}

func (loopback) Setup(context.Context, string, string) (netip.Addr, error) {
	return netip.MustParseAddr("127.0.0.1"), nil
}
func (loopback) Teardown(context.Context, string) error { return nil }
func (loopback) Expose(context.Context, string, []network.HostPort) error {
	return nil
}

const testImage = demo.Repository + ":any"

// open opens a runtime on dir.
func open(t *testing.T, dir string) *embedded.Runtime {
	t.Helper()
	r, err := embedded.New(embedded.Config{Dir: dir, Network: loopback{}, LogMaxBytes: 64 << 10, LogMaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fresh opens a runtime on a directory of the test's own and destroys it at the end.
func fresh(t *testing.T) *embedded.Runtime {
	t.Helper()
	dir := t.TempDir()
	r := open(t, dir)
	t.Cleanup(func() {
		if err := embedded.DestroyDir(context.Background(), dir, nil); err != nil {
			t.Error(err)
		}
	})
	return r
}

func sandboxConfig(t *testing.T) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "web-1", Namespace: "default", Uid: "uid-1"},
		Hostname:     "web-1",
		LogDirectory: t.TempDir(),
		Linux:        &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/ctlplane-test/" + t.Name()},
	}
}

func containerConfig(args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: testImage},
		Command:  append([]string{demo.Program}, args...),
		LogPath:  "main/0.log",
		Linux:    &runtimeapi.LinuxContainerConfig{},
	}
}
