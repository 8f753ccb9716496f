package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
)

// fakeServer is a server that accepts every write at once, or refuses all.
type fakeServer struct {
	pb.UnimplementedKVServer
	pb.UnimplementedMaintenanceServer
	writepb.UnimplementedPipelineServer
	id, leader uint64
	refuse     error
	puts       atomic.Int64
	badPuts    atomic.Int64
}

func (s *fakeServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: s.id}, Leader: s.leader, Version: "9.9.9"}, nil
}

func (s *fakeServer) note(key, value []byte) {
	s.puts.Add(1)
	if len(key) != 16 || !bytes.HasPrefix(key, []byte(keyPrefix)) || len(value) != 100 {
		s.badPuts.Add(1)
	}
}

func (s *fakeServer) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.note(r.Key, r.Value)
	if s.refuse != nil {
		return nil, s.refuse
	}
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 2}}, nil
}

func (s *fakeServer) Write(stream writepb.Pipeline_WriteServer) error {
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &writepb.ResultBatch{}
		for _, op := range in.Ops {
			s.note(op.Key, op.Value)
			refused := status.Convert(s.refuse)
			out.Results = append(out.Results, &writepb.WriteResult{Id: op.Id, Revision: 2, Code: uint32(refused.Code()), Message: refused.Message()})
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// start serves s on a loopback port, with or without the write stream, and returns its address.
func (s *fakeServer) start(t *testing.T, pipeline bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	pb.RegisterKVServer(srv, s)
	pb.RegisterMaintenanceServer(srv, s)
	if pipeline {
		writepb.RegisterPipelineServer(srv, s)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	return "http://" + l.Addr().String()
}

func run(t *testing.T, o Options) Report {
	t.Helper()
	o.ValueSize = 100
	r, err := Writes(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWritesCountsWhatItMeasures(t *testing.T) {
	for _, pipeline := range []int{0, 50} {
		t.Run(fmt.Sprint("pipeline ", pipeline), func(t *testing.T) {
			s := &fakeServer{id: 1, leader: 1}
			r := run(t, Options{Endpoints: []string{s.start(t, true)}, Clients: 20, Total: 5000, WarmUp: -1, Pipeline: pipeline})
			if r.Writes != 5000 || r.Errors != 0 || s.badPuts.Load() != 0 || s.puts.Load() < 5000 {
				t.Errorf("%+v; the server saw %d writes, %d of them wrong", r, s.puts.Load(), s.badPuts.Load())
			}
			l := r.Latency
			if !(0 < l.P50 && l.P50 <= l.P90 && l.P90 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max) {
				t.Errorf("latency %+v", l)
			}
			if rate := float64(r.Writes) / r.Seconds; math.Abs(rate-r.WritesPerSecond) > 1 {
				t.Errorf("%f writes/s, but %d in %f s", r.WritesPerSecond, r.Writes, r.Seconds)
			}
		})
	}
}

func TestWritesByTimeLeavesWarmUpOut(t *testing.T) {
	s := &fakeServer{id: 1, leader: 1}
	r := run(t, Options{Endpoints: []string{s.start(t, true)}, Clients: 4, Duration: 200 * time.Millisecond, WarmUp: 200 * time.Millisecond})
	if math.Abs(r.Seconds-0.2) > 0.001 || r.Writes == 0 || r.Writes >= s.puts.Load() {
		t.Errorf("%+v of %d writes", r, s.puts.Load())
	}
}

func TestWritesCountsErrorsByText(t *testing.T) {
	for _, pipeline := range []int{0, 5} {
		s := &fakeServer{id: 1, leader: 1, refuse: status.Error(codes.ResourceExhausted, "no room")}
		r := run(t, Options{Endpoints: []string{s.start(t, true)}, Clients: 2, Duration: 100 * time.Millisecond, WarmUp: -1, Pipeline: pipeline})
		if r.Writes != 0 || r.Errors == 0 || r.ErrorTexts["ResourceExhausted: no room"] != r.Errors {
			t.Errorf("%+v", r)
		}
	}
}

func TestWritesTarget(t *testing.T) {
	follower, leader := &fakeServer{id: 1, leader: 2}, &fakeServer{id: 2, leader: 2}
	endpoints := []string{follower.start(t, true), leader.start(t, true)}
	run(t, Options{Endpoints: endpoints, Clients: 4, Total: 100, WarmUp: -1})
	if follower.puts.Load() != 0 || leader.puts.Load() < 100 {
		t.Errorf("to the leader: %d at the follower, %d at the leader", follower.puts.Load(), leader.puts.Load())
	}
	run(t, Options{Endpoints: endpoints, Clients: 4, Total: 100, WarmUp: -1, Target: TargetAll})
	if follower.puts.Load() == 0 {
		t.Error("to all: none at the follower")
	}
}

func TestWritesRefusesWhatCantBeRun(t *testing.T) {
	plain := &fakeServer{id: 1, leader: 1}
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"no endpoints":    {Options{}, "no endpoints"},
		"too many keys":   {Options{Endpoints: []string{"a:1"}, KeySize: 8}, "can't tell"},
		"large values":    {Options{Endpoints: []string{"a:1"}, ValueSize: 2 << 20}, "key and value together"},
		"unknown target":  {Options{Endpoints: []string{"a:1"}, Target: "some"}, "neither"},
		"no write stream": {Options{Endpoints: []string{plain.start(t, false)}, Pipeline: 5}, "only a ctlplane master"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Writes(t.Context(), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestCommand(t *testing.T) {
	s := &fakeServer{id: 1, leader: 1}
	endpoint, stopped := s.start(t, true), false
	start := func(context.Context) ([]string, func(), error) {
		return []string{endpoint}, func() { stopped = true }, nil
	}
	output := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := NewCommand(start)
		cmd.SetArgs(append([]string{"writes", "--value-size", "100", "--warm-up", "0", "--total", "500"}, args...))
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	text, err := output()
	if err != nil || !strings.Contains(text, "500 writes in") || !strings.Contains(text, "no errors") || !strings.Contains(text, "p99.9") {
		t.Errorf("%v\n%s", err, text)
	}
	if !stopped {
		t.Error("the cluster that was started was not stopped")
	}
	text, err = output("--endpoints", endpoint, "-o", "json", "--pipeline", "10")
	var report struct {
		WritesPerSecond float64 `json:"writes_per_second"`
		Errors          *int64
		Latency         map[string]float64 `json:"latency_ms"`
	}
	if err != nil || json.Unmarshal([]byte(text), &report) != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if report.WritesPerSecond <= 0 || report.Errors == nil || len(report.Latency) != 5 {
		t.Errorf("%s", text)
	}
	for _, bad := range [][]string{{"-o", "yaml"}, {"--endpoints", "https://a:1"}, {"--cert", "x"}, {"--clients", "-1"}} {
		if _, err := output(bad...); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}
