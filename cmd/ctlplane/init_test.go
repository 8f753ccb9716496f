package main

import (
	"strings"
	"testing"
)

// TestNegativeDurationsAreRefused starts daemons with durations that mean nothing, on ports that can't be listened on.
func TestNegativeDurationsAreRefused(t *testing.T) {
	for _, args := range []string{
		"init --node-monitor-grace -1s", "init --pod-eviction-after -5s", "init --cert-lifetime -1h",
		"join 127.0.0.1:1 --heartbeat -2s", "join 127.0.0.1:1 --master --pod-eviction-after -5s",
	} {
		root := newRoot()
		root.SetArgs(append(strings.Fields(args), "--data-dir", t.TempDir(), "--peer-addr", "nowhere", "--client-addr", "nowhere", "--api-addr", "nowhere"))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), " is negative: give a duration such as ") {
			t.Errorf("%s: %v", args, err)
		}
	}
}
