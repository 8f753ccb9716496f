package membership

import (
	"errors"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore/failure"
)

func TestBadPeerURLs(t *testing.T) {
	for _, bad := range [][]string{nil, {""}, {"127.0.0.1:1"}, {"http://127.0.0.1"}, {"http://:1"}, {"ftp://h:1"}, {"http://h:1/x"}, {"http://h:1", "x"}} {
		if err := ValidatePeerURLs(bad); !errors.Is(err, failure.ErrBadPeerURLs) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := ValidatePeerURLs([]string{"http://h:1", "https://[::1]:2"}); err != nil {
		t.Error(err)
	}
}
