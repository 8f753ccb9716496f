package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore"
)

// TestRemovedMemberEndsAsEtcds: with etcd's lines and as a success, and nothing else ends so.
func TestRemovedMemberEndsAsEtcds(t *testing.T) {
	var out locked
	logger := slog.New(slog.NewTextHandler(&out, nil))
	other := errors.New("the disk is broken")
	if err := endAsEtcd(other, "/data", logger); !errors.Is(err, other) || out.String() != "" {
		t.Errorf("another end: %v, %s", err, out.String())
	}
	if err := endAsEtcd(fmt.Errorf("%w (/data)", raftstore.ErrRemoved), "/data", logger); err != nil {
		t.Errorf("a removal: %v", err)
	}
	for _, line := range []string{"the member has been permanently removed from the cluster", "data-dir used by this member must be removed", "/data"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the log lacks %q: %s", line, out.String())
		}
	}
}
