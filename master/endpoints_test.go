package master

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestMasterOnALoopbackAddressIsNoEndpointAndToldOnce(t *testing.T) {
	var log bytes.Buffer
	endpoints := &apiEndpoints{log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, step := range []struct {
		urls, want string
		lines      int // of the log, so far
	}{
		{"https://127.0.0.1:6443", "[]", 1},
		{"https://127.0.0.1:6443", "[]", 1},
		{"https://127.0.0.1:6443 https://192.0.2.1:6443", "[192.0.2.1:6443]", 1},
		{"https://192.0.2.1:6443 https://127.0.0.1:6443 https://m.example.com:6443", "[192.0.2.1:6443]", 2},
		{"https://192.0.2.1:6443", "[192.0.2.1:6443]", 2},
		{"https://[::1]:6443 https://[::ffff:192.0.2.1]:6443", "[192.0.2.1:6443]", 3},
		{"https://169.254.1.1:6443 https://0.0.0.0:6443 https://224.0.0.1:6443 https://[2001:db8::1]:6443", "[]", 4},
	} {
		got := fmt.Sprint(endpoints.of(strings.Fields(step.urls)))
		if lines := strings.Count(log.String(), "\n"); got != step.want || lines != step.lines {
			t.Errorf("%s: endpoints %s, want %s; %d lines, want %d:\n%s", step.urls, got, step.want, lines, step.lines, log.String())
		}
	}
	if !strings.Contains(log.String(), "https://127.0.0.1:6443 is a loopback address") {
		t.Errorf("the log doesn't tell why:\n%s", log.String())
	}
}
