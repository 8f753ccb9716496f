package etcdv3

import (
	"errors"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/client"
)

// TestPipelineTakesRequestsOfTheSetSize: the write stream takes and refuses what the other calls do, by --max-request-bytes. A
// write that is too large is refused alone, also where the server would not even receive it.
func TestPipelineTakesRequestsOfTheSetSize(t *testing.T) {
	for _, limit := range []int{1000, 4 << 20, proposedBytes + 2<<20} {
		p := openPipelineWithLimit(t, limit)
		const overhead = envelope + len("k")
		beside := p.Put([]byte("k"), []byte("v"))
		largest := p.Put([]byte("k"), make([]byte, limit-overhead))
		for _, over := range []int{1, requestOverhead, 4 * requestOverhead} {
			if _, err := p.Put([]byte("k"), make([]byte, limit-overhead+over)).Wait(t.Context()); !errors.Is(err, rpctypes.ErrGRPCRequestTooLarge) {
				t.Errorf("limit %d: %d bytes over it: %v", limit, over, err)
			}
		}
		after := p.Put([]byte("k"), []byte("v"))
		for name, pending := range map[string]*client.Pending{"beside": beside, "the largest": largest, "after": after} {
			if _, err := pending.Wait(t.Context()); err != nil {
				t.Errorf("limit %d: %s: %v", limit, name, err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func openPipelineWithLimit(t *testing.T, limit int) *client.Pipeline {
	t.Helper()
	_, p := openPipeline(t, serve(t, newLocalBackend(t), ServerConfig{MaxRequestBytes: limit}, Options{MaxRequestBytes: limit}))
	return p
}

// TestPipelineTellsWhoLeads: a stream's header says who serves it, and where the leader takes clients.
func TestPipelineTellsWhoLeads(t *testing.T) {
	b := newLocalBackend(t)
	header := pipelineHeader(b)
	if h := header(); h.Member != localID || h.Leader != localID || len(h.LeaderURLs) != 0 {
		t.Errorf("at the leader: %+v", h)
	}
	b.leader.Store(0)
	if h := header(); h.Leader != 0 || len(h.LeaderURLs) != 0 {
		t.Errorf("without a leader: %+v", h)
	}
	for _, m := range startMembers(t, 2) {
		h := pipelineHeader(m)()
		if s := m.Status(); h.Member != s.ID || h.Leader != s.Leader || h.Cluster != s.ClusterID {
			t.Errorf("%+v", h)
		} else if s.Leader != s.ID && len(h.LeaderURLs) != 1 {
			t.Errorf("at a follower: %+v", h)
		}
		if got := writepb.HeaderOf(h.Metadata()); got.Leader != h.Leader || got.Cluster != h.Cluster || !slices.Equal(got.LeaderURLs, h.LeaderURLs) {
			t.Errorf("%+v becomes %+v", h, got)
		}
	}
}
