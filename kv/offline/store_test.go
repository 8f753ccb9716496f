package offline_test

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
)

func open(t testing.TB, o kv.Options) *kv.Store {
	t.Helper()
	s, err := kv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// apply applies commands as the next entry.
func apply(t testing.TB, s *kv.Store, commands ...kv.Command) []kv.Result {
	t.Helper()
	results, err := s.Apply([]kv.Entry{{Index: s.AppliedIndex() + 1, Term: 1, Commands: commands}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func put(key, value string) kv.Command {
	return kv.Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func compact(revision int64) kv.Command {
	return kv.Command{Compact: &pb.CompactionRequest{Revision: revision}}
}

// everything is what can be read at a revision; 0 is the present one.
func everything(t testing.TB, s *kv.Store, revision int64) []*mvccpb.KeyValue {
	t.Helper()
	answer, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Kvs
}
