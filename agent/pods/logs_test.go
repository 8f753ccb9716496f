package pods

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// A log is shown as the program wrote it: what has no newline at its end gets none.
func TestLogsEndAsTheProgramEnded(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.writeLog("main", "F one", "P hello")
	b.runtime.exit(t, "main", 1)
	b.runtime.until(t, "a second run", func() bool { return b.runtime.runs("main", 1) })
	b.writeLog("main", "P last")
	b.runtime.exit(t, "main", 1)
	for _, c := range []struct {
		opts corev1.PodLogOptions
		want string
	}{
		{corev1.PodLogOptions{}, "last"},
		{corev1.PodLogOptions{Follow: true}, "last"},
		{corev1.PodLogOptions{Previous: true}, "one\nhello"},
		{corev1.PodLogOptions{Previous: true, TailLines: ptr.To[int64](1)}, "hello"},
		{corev1.PodLogOptions{Previous: true, TailLines: ptr.To[int64](2)}, "one\nhello"},
		{corev1.PodLogOptions{Previous: true, LimitBytes: ptr.To[int64](6)}, "one\nhe"},
		{corev1.PodLogOptions{Previous: true, LimitBytes: ptr.To[int64](100)}, "one\nhello"},
		{corev1.PodLogOptions{Previous: true, Timestamps: true}, "2026-01-01T00:00:00.000000000Z one\n2026-01-01T00:00:00.000000000Z hello"},
	} {
		var out bytes.Buffer
		if err := b.manager.Logs(t.Context(), "default", "p", "main", &c.opts, &out); err != nil || out.String() != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.opts, out.String(), err, c.want)
		}
	}
}

// TestLogOfOneStream asks for what a container wrote to one of its streams: it got both.
func TestLogOfOneStream(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	path := b.writeLog("main")
	const log = "2026-01-01T00:00:00Z stdout F out\n2026-01-01T00:00:00Z stderr F err\n2026-01-01T00:00:00Z stdout F more\n"
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]string{corev1.LogStreamAll: "out\nerr\nmore\n", corev1.LogStreamStdout: "out\nmore\n", corev1.LogStreamStderr: "err\n"} {
		var out bytes.Buffer
		opts := &corev1.PodLogOptions{Stream: &stream}
		if err := b.manager.Logs(t.Context(), "default", "p", "main", opts, &out); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", stream, out.String(), err, want)
		}
	}
}

// writeLog writes entries, each a tag and a text, as the log of a container's newest run, and gives its path.
func (b *bench) writeLog(name string, entries ...string) string {
	b.t.Helper()
	b.runtime.mu.Lock()
	path := b.runtime.newest(name).status.LogPath
	b.runtime.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	var text strings.Builder
	for _, entry := range entries {
		text.WriteString("2026-01-01T00:00:00Z stdout " + entry + "\n")
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestMessageFromTheEndOfALog(t *testing.T) {
	for log, want := range map[string]string{
		"":                                      "",
		"t stdout F one\nt stderr F two\n":      "one\ntwo",
		"t stdout P one \nt stdout F line\n":    "one line",
		"t stdout F a\nt stdout P no newline\n": "a\nno newline",
		"ut off\nt stdout F a\n":                "ut off\na",
	} {
		if got := endOfLog(log); got != want {
			t.Errorf("%q is %q, want %q", log, got, want)
		}
	}
}

// firstWrite tells of the first write.
type firstWrite struct {
	seen chan string
}

func (f firstWrite) Write(p []byte) (int, error) {
	select {
	case f.seen <- string(p):
	default:
	}
	return len(p), nil
}

// gone is a reader that has left.
type gone struct{}

func (gone) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, errors.New("http2: stream closed")
}

// errorSink keeps the errors that are logged.
type errorSink struct{ errors []string }

func (s *errorSink) Init(klog.RuntimeInfo)                   {}
func (s *errorSink) Enabled(int) bool                        { return true }
func (s *errorSink) Info(int, string, ...any)                {}
func (s *errorSink) Error(_ error, message string, _ ...any) { s.errors = append(s.errors, message) }
func (s *errorSink) WithValues(...any) klog.LogSink          { return s }
func (s *errorSink) WithName(string) klog.LogSink            { return s }

// TestReaderThatLeavesIsNoFault has the reader of a log leave: an error was logged for each.
func TestReaderThatLeavesIsNoFault(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.writeLog("main", "F one")
	var logged errorSink
	err := b.manager.Logs(klog.NewContext(t.Context(), klog.New(&logged)), "default", "p", "main", &corev1.PodLogOptions{Follow: true}, gone{})
	if err == nil || !strings.Contains(err.Error(), "stream closed") {
		t.Errorf("the error of the reader's end is %v", err)
	}
	if len(logged.errors) > 0 {
		t.Errorf("logged: %q", logged.errors)
	}
}

// TestFollowedLogBeginsBeforeItsFirstLine follows the log of a container that has written nothing.
func TestFollowedLogBeginsBeforeItsFirstLine(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.writeLog("main")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out := firstWrite{make(chan string, 1)}
	ended := make(chan error, 1)
	go func() { ended <- b.manager.Logs(ctx, "default", "p", "main", &corev1.PodLogOptions{Follow: true}, out) }()
	select {
	case text := <-out.seen:
		if text != "" {
			t.Errorf("it began with %q", text)
		}
	case <-ctx.Done():
		t.Error("nothing was written")
	}
	cancel()
	<-ended
}
