package bench

import (
	"bytes"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

func event(s stamp) *mvccpb.Event {
	value := make([]byte, 40)
	s.write(value)
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("bench/1"), ModRevision: 7, Version: 3, Value: value}}
}

func encoded(t testing.TB, r *pb.WatchResponse) []byte {
	t.Helper()
	data, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFrameIsWhatTheResponseSays(t *testing.T) {
	want := []stamp{{time.Second, 3}, {time.Hour, 4_000_000_000}}
	full := &pb.WatchResponse{
		Header: &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: 3}, WatchId: 9, Fragment: true,
		Events: []*mvccpb.Event{event(want[0]), {Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("gone")}}, event(want[1])},
	}
	full.Events[0].PrevKv = event(stamp{time.Minute, 5}).Kv // not to be taken for the event's own
	var f watchFrame
	if err := f.parse(encoded(t, full)); err != nil || !slices.Equal(f.stamps, want) || f.created || f.canceled {
		t.Errorf("%v, %+v", err, f)
	}
	if err := f.parse(encoded(t, &pb.WatchResponse{Created: true, Canceled: true, CancelReason: "no"})); err != nil ||
		!f.created || !f.canceled || f.reason != "no" || len(f.stamps) != 0 {
		t.Errorf("%v, %+v", err, f)
	}
}

// FuzzFrame holds the frame against the message that protobuf makes of the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(encoded(f, &pb.WatchResponse{Created: true}))
	f.Add(encoded(f, &pb.WatchResponse{Events: []*mvccpb.Event{event(stamp{1, 2}), event(stamp{3, 4})}}))
	f.Add([]byte{0x5a, 0x02, 0x12, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		var frame watchFrame
		err := frame.parse(data)
		var message pb.WatchResponse
		if proto.Unmarshal(data, &message) != nil {
			return // what the one refuses the other need not
		}
		if again := encoded(t, &message); !bytes.Equal(again, data) {
			return // fields in another order, twice, or unknown: the message merges them
		}
		if err != nil || frame.created != message.Created || frame.canceled != message.Canceled {
			t.Fatalf("%v: %+v of %v", err, frame, &message)
		}
		stamped := 0
		for _, e := range message.Events {
			if len(e.GetKv().GetValue()) >= stampBytes {
				stamped++
			}
		}
		if len(frame.stamps) != stamped {
			t.Errorf("%d stamps of %d events that have one", len(frame.stamps), stamped)
		}
	})
}
