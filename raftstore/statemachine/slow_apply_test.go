package statemachine

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/kv"
)

func putOf(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

// txnWithSecrets has values in all places where a transaction can have one.
func txnWithSecrets(key string) *pb.TxnRequest {
	put := putOf(key, "secret")
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte("secret")},
		}},
		Success: []*pb.RequestOp{put, {Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{putOf(key+"2", "secret")}}}}},
		Failure: []*pb.RequestOp{put},
	}
}

// TestSlowRequestIsNamed: of a batch, the log gets the command that took too long, with its key and sizes, and no value.
func TestSlowRequestIsNamed(t *testing.T) {
	var logged bytes.Buffer
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	slow := slowApplies{limit: 100 * time.Millisecond, logger: slog.New(slog.NewTextHandler(&logged, nil)), now: clock.Now}
	put, txn := kv.Command{Put: putOf("quick", "secret").GetRequestPut()}, kv.Command{Txn: txnWithSecrets("guilty")}
	batch := []kv.Entry{{Commands: []kv.Command{put, txn}}, {Commands: []kv.Command{put}}}
	apply := func(batch []kv.Entry, times ...time.Duration) (line string, tooLong bool) {
		logged.Reset()
		slow.begin(batch)
		var sum time.Duration
		for i := range batch {
			for j := range batch[i].Commands {
				clock.Step(times[0])
				sum += times[0]
				times = times[1:]
				slow.carriedOut(&batch[i].Commands[j], kv.Result{Response: &pb.TxnResponse{Succeeded: true}})
			}
		}
		tooLong = slow.end(batch, sum+times[0], nil)
		if strings.Contains(logged.String(), "secret") || strings.Count(logged.String(), "\n") > 1 {
			t.Errorf("logged %s", &logged)
		}
		return logged.String(), tooLong
	}
	ms := time.Millisecond
	if line, tooLong := apply(batch, 30*ms, 30*ms, 30*ms, 10*ms); tooLong || line != "" {
		t.Errorf("in time: %v, %s", tooLong, line)
	}
	line, tooLong := apply(batch, ms, 101*ms, ms, ms)
	for _, want := range []string{"apply request took too long", "took=101ms", "expected-duration=100ms", "txn:<", "guilty", "value_size:6", "response=size:2"} {
		if !strings.Contains(line, want) || !tooLong {
			t.Errorf("a slow transaction: %v, %s lacks %s", tooLong, line, want)
		}
	}
	if line, tooLong = apply(batch, ms, ms, ms, 200*ms); !tooLong || !strings.Contains(line, "3 requests in 2 entries") {
		t.Errorf("a slow disk: %v, %s", tooLong, line)
	}
	one := []kv.Entry{{Commands: []kv.Command{put}}}
	if line, tooLong = apply(one, ms, 200*ms); !tooLong || !strings.Contains(line, "quick") || !strings.Contains(line, "value_size:6") {
		t.Errorf("a slow put: %v, %s", tooLong, line)
	}
	slow.limit = -1
	if line, tooLong = apply(batch, ms, 101*ms, ms, ms); tooLong || line != "" {
		t.Errorf("nobody asked: %v, %s", tooLong, line)
	}
}

// TestCommandsAreTimed: each for itself, but puts that come without other commands.
func TestCommandsAreTimed(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	var told []Timing
	slow := slowApplies{now: clock.Now, onCommands: func(timing Timing) { told = append(told, timing) }}
	put, txn := kv.Command{Put: putOf("key", "value").GetRequestPut()}, kv.Command{Txn: txnWithSecrets("key")}
	refused := kv.ErrLeaseNotFound
	apply := func(results map[int]error, commands ...kv.Command) []Timing {
		told = nil
		slow.begin([]kv.Entry{{Commands: commands[:1]}, {}, {Commands: commands[1:]}})
		for i := range commands {
			clock.Step(time.Duration(i+1) * time.Millisecond)
			slow.carriedOut(&commands[i], kv.Result{Err: results[i]})
		}
		for i := range told {
			if told[i].Command == nil || (told[i].Command.Put == nil) != (told[i].Command.Txn != nil) {
				t.Errorf("told of %+v", told[i])
			}
			told[i].Command = nil // compared already
		}
		return told
	}
	ms := time.Millisecond
	for _, c := range []struct {
		what     string
		results  map[int]error
		commands []kv.Command
		want     []Timing
	}{
		{"one put", nil, []kv.Command{put}, []Timing{{Count: 1, Each: ms}}},
		{"puts", nil, []kv.Command{put, put, put}, []Timing{{Count: 3, Each: 2 * ms}}},
		{"puts, one refused", map[int]error{1: refused}, []kv.Command{put, put, put}, []Timing{{Count: 2, Each: 2 * ms}, {Err: refused, Count: 1, Each: 2 * ms}}},
		{"refused puts", map[int]error{0: refused}, []kv.Command{put}, []Timing{{Err: refused, Count: 1, Each: ms}}},
		{"a transaction between puts", map[int]error{1: refused}, []kv.Command{put, txn, put},
			[]Timing{{Count: 1, Each: ms}, {Err: refused, Count: 1, Each: 2 * ms}, {Count: 1, Each: 3 * ms}}},
	} {
		if got := apply(c.results, c.commands...); !slices.Equal(got, c.want) {
			t.Errorf("%s: told of %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestLongRequestsAreCut(t *testing.T) {
	got := describeCommand(&kv.Command{DeleteRange: &pb.DeleteRangeRequest{Key: bytes.Repeat([]byte("k"), 1<<20)}})
	if len(got) > describedBytes+50 || !strings.Contains(got, "bytes more") {
		t.Errorf("%d bytes: %.50s", len(got), got)
	}
}
