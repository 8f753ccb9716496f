package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs the command, with fake clusters in place of those that it would start.
func call(t *testing.T, args ...string) (out string, started []string, err error) {
	t.Helper()
	var all []*fakeProcesses
	closed := 0
	cmd := NewCommand(func(etcd string) (Own, error) {
		p := newProcesses(t)
		all = append(all, p)
		started = append(started, etcd)
		return closing{p, &closed}, nil
	})
	var b bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&b)
	cmd.SetErr(io.Discard)
	err = cmd.ExecuteContext(t.Context())
	if closed != len(all) {
		t.Errorf("%d clusters were started and %d closed", len(all), closed)
	}
	return b.String(), started, err
}

type closing struct {
	*fakeProcesses
	closed *int
}

func (c closing) Close() { *c.closed++ }

func TestCommandLoadsAClusterOfItsOwn(t *testing.T) {
	text, started, err := call(t, "writes", "--clients", "5", "--warmup", "0", "--total", "500")
	if err != nil || len(started) != 1 || started[0] != "" {
		t.Errorf("%v, started %q", err, started)
	}
	for _, want := range []string{"500 writes in", "no errors", "p99.9", "server 9.9.9"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestCommandLoadsEndpoints(t *testing.T) {
	text, started, err := call(t, "writes", "--clients", "5", "--warm-up", "0", "--total", "500", "-o", "json", "--pipeline", "10",
		"--endpoints", leader().start(t, true))
	var report struct {
		WritesPerSecond float64 `json:"writes_per_second"`
		Errors          *int64
		Latency         map[string]float64 `json:"latency_ms"`
	}
	if err != nil || json.Unmarshal([]byte(text), &report) != nil || len(started) != 0 {
		t.Fatalf("%v, started %q\n%s", err, started, text)
	}
	if report.WritesPerSecond <= 0 || report.Errors == nil || len(report.Latency) != 5 {
		t.Errorf("%s", text)
	}
}

func TestCommandComparesWithAnEtcdBinary(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "etcd")
	if err := os.WriteFile(binary, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	text, started, err := call(t, "failover", "--trials", "1", "--rounds", "1", "--against", binary, "-o", "json")
	if err != nil || len(started) != 2 || started[1] != binary {
		t.Fatalf("%v, started %q", err, started)
	}
	var c Comparison
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.Names != [2]string{"ctlplane", "etcd"} || len(c.Rounds) != 1 {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestCommandRefuses(t *testing.T) {
	endpoint := leader().start(t, false)
	for name, args := range map[string][]string{
		"unknown output":      {"writes", "-o", "yaml"},
		"TLS without files":   {"writes", "--endpoints", "https://a:1"},
		"TLS against":         {"writes", "--against", "https://a:1"},
		"half a key pair":     {"writes", "--cert", "x"},
		"negative clients":    {"writes", "--clients", "-1"},
		"foreign restart":     {"restart", "--endpoints", endpoint},
		"foreign against":     {"failover", "--against", endpoint},
		"arguments":           {"writes", "more"},
		"nobody at endpoints": {"writes", "--endpoints", "127.0.0.1:1,127.0.0.1:2", "--key-size", "7"},
	} {
		if _, started, err := call(t, args...); err == nil || len(started) > 0 {
			t.Errorf("%s: %v, started %q", name, err, started)
		}
	}
}

func TestClusterThatDoesNotStart(t *testing.T) {
	broken := errors.New("no such binary")
	cmd := NewCommand(func(string) (Own, error) { return nil, broken })
	cmd.SetArgs([]string{"writes"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
