package etcdconfig

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogsLookLikeEtcds(t *testing.T) {
	var stderr bytes.Buffer
	path := filepath.Join(t.TempDir(), "etcd.log")
	s := parse(t, nil, "--log-outputs", "stderr,"+path, "--log-level", "warn")
	logger, closeLogs, err := s.Log.Open(&bytes.Buffer{}, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("not this")
	logger.Warn("this", "key", "value", slog.Group("inner", "level", 1), "time", 1500*time.Millisecond, "source", "here")
	if err := closeLogs(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || string(content) != stderr.String() {
		t.Fatalf("the file has %q, standard error %q: %v", content, &stderr, err)
	}
	var line map[string]any
	if err := json.Unmarshal(content, &line); err != nil {
		t.Fatal(err)
	}
	caller, _ := line["caller"].(string)
	if line["level"] != "warn" || line["msg"] != "this" || line["key"] != "value" || line["ts"] == nil || line["time"] != "1.5s" || line["source"] != "here" || !strings.HasPrefix(caller, "etcdconfig/logs_test.go:") {
		t.Errorf("%s", content)
	}
}

func TestLogsRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etcd.log")
	s := parse(t, nil, "--log-outputs", path, "--enable-log-rotation", "--log-rotation-config-json", `{"maxsize": 1}`, "--log-format", "console")
	logger, closeLogs, err := s.Log.Open(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 400<<10)
	for range 4 {
		logger.Info(long)
	}
	if err := closeLogs(); err != nil {
		t.Fatal(err)
	}
	if logs, _ := filepath.Glob(filepath.Join(dir, "etcd*.log")); len(logs) < 2 {
		t.Errorf("1.6 MB in files of 1 MB: %v", logs)
	}
}

func TestLogFileThatCantBeOpened(t *testing.T) {
	s := parse(t, nil, "--log-outputs", filepath.Join(t.TempDir(), "none", "etcd.log"))
	if _, _, err := s.Log.Open(nil, nil); err == nil || !strings.Contains(err.Error(), "--log-outputs") {
		t.Errorf("got %v", err)
	}
}
