package main

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"
)

// TestTheLogIsBounded: 858 lines in two milliseconds, from one place, were all in the log of a master.
func TestTheLogIsBounded(t *testing.T) {
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before); klog.ClearLogger() })
	var out locked
	log, err := (&logFlags{level: "info", format: "text"}).logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		log.Warn("an event was lost")
		slog.Info("to the default")
		klog.Warning("from a library of Kubernetes")
	}
	for _, message := range []string{"an event was lost", "to the default", "from a library of Kubernetes"} {
		if n := strings.Count(out.String(), message); n == 0 || n > 50 {
			t.Errorf("%q is %d times in the log, want it a few times", message, n)
		}
	}
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "time=") {
			t.Fatalf("the line %q is not in the log's format", line)
		}
	}
}

// locked is a buffer for many writers.
type locked struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
