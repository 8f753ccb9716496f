package bench

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func leader() *fakeServer { return &fakeServer{id: 1, leader: 1} }

func run(t *testing.T, w Workload, o Options) Report {
	t.Helper()
	o.ValueSize = 100
	r, err := Measure(t.Context(), w, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWritesCountWhatTheyMeasure(t *testing.T) {
	for _, pipeline := range []int{0, 50} {
		t.Run(fmt.Sprint("pipeline ", pipeline), func(t *testing.T) {
			s := leader()
			s.valueSize = 100
			r := run(t, &Writes{Pipeline: pipeline}, Options{Endpoints: []string{s.start(t, true)}, Clients: 20, Total: 5000, WarmUp: -1})
			if r.Operations != 5000 || r.Errors != 0 || s.badPuts.Load() != 0 || s.puts.Load() < 5000 {
				t.Errorf("%+v; the server saw %d writes, %d of them wrong", r, s.puts.Load(), s.badPuts.Load())
			}
			l := r.Latency
			if !(0 < l.P50 && l.P50 <= l.P90 && l.P90 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.Max) {
				t.Errorf("latency %+v", l)
			}
			if rate := float64(r.Operations) / r.Seconds; math.Abs(rate-r.Rate) > 1 {
				t.Errorf("%f writes/s, but %d in %f s", r.Rate, r.Operations, r.Seconds)
			}
		})
	}
}

func TestErrorsAreCountedByText(t *testing.T) {
	for _, pipeline := range []int{0, 5} {
		s := leader()
		s.refuse = status.Error(codes.ResourceExhausted, "no room")
		r := run(t, &Writes{Pipeline: pipeline}, Options{Endpoints: []string{s.start(t, true)}, Clients: 2, Duration: 100 * time.Millisecond, WarmUp: -1})
		if r.Operations != 0 || r.Errors == 0 || r.ErrorTexts["ResourceExhausted: no room"] != r.Errors {
			t.Errorf("%+v", r)
		}
	}
}

func TestTarget(t *testing.T) {
	follower, leader := &fakeServer{id: 1, leader: 2}, &fakeServer{id: 2, leader: 2}
	endpoints := []string{follower.start(t, true), leader.start(t, true)}
	run(t, &Writes{}, Options{Endpoints: endpoints, Clients: 4, Total: 100, WarmUp: -1})
	if follower.puts.Load() != 0 || leader.puts.Load() < 100 {
		t.Errorf("to the leader: %d at the follower, %d at the leader", follower.puts.Load(), leader.puts.Load())
	}
	run(t, &Writes{}, Options{Endpoints: endpoints, Clients: 4, Total: 100, WarmUp: -1, Target: TargetAll})
	if follower.puts.Load() == 0 {
		t.Error("to all: none at the follower")
	}
}

func TestWhatCantBeRunIsRefused(t *testing.T) {
	plain, whole := leader().start(t, false), leader().start(t, true)
	for name, test := range map[string]struct {
		w    Workload
		o    Options
		want string
	}{
		"no endpoints":     {&Writes{}, Options{}, "no endpoints"},
		"too many keys":    {&Writes{}, Options{Endpoints: []string{"a:1"}, KeySize: 8}, "can't tell"},
		"large values":     {&Writes{}, Options{Endpoints: []string{"a:1"}, ValueSize: 2 << 20}, "key and value together"},
		"unknown target":   {&Writes{}, Options{Endpoints: []string{"a:1"}, Target: "some"}, "neither"},
		"negative rate":    {&Writes{}, Options{Endpoints: []string{"a:1"}, Rate: -1}, "negative"},
		"no write stream":  {&Writes{Pipeline: 5}, Options{Endpoints: []string{plain}}, "only a ctlplane master"},
		"wide range":       {&Reads{RangeSize: 11}, Options{Endpoints: []string{whole}, KeySpace: 10}, "larger than the key space"},
		"nothing mixed":    {&Mixed{ReadRatio: 1}, Options{Endpoints: []string{whole}}, "nothing mixed"},
		"guarded, shared":  {&Txns{Guarded: true}, Options{Endpoints: []string{whole}, KeySpace: 10}, "key a client"},
		"watch, no stamp":  {&Watch{}, Options{Endpoints: []string{whole}, ValueSize: 4}, "--value-size 12"},
		"no processes":     {&Restart{}, Options{Endpoints: []string{whole}}, "its own processes"},
		"a leader nowhere": {&Failover{}, Options{Endpoints: []string{"a:1"}}, "its own processes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Measure(t.Context(), test.w, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// TestEveryLoad runs each workload that needs no processes and looks at what it reports.
func TestEveryLoad(t *testing.T) {
	for _, test := range []struct {
		w      Workload
		o      Options
		series []string
	}{
		{&Reads{}, Options{Total: 500}, nil},
		{&Reads{RangeSize: 10, Serializable: true}, Options{Total: 500}, nil},
		{&Txns{Puts: 3}, Options{Total: 500}, nil},
		{&Txns{Guarded: true}, Options{Total: 500}, nil},
		{&Mixed{ReadRatio: 0.5}, Options{Total: 500}, []string{"reads", "writes"}},
		{&Leases{GrantEvery: 3}, Options{Total: 500}, []string{"grants", "keepalives", "revocations"}},
		{&Writes{}, Options{Rate: 2000, Total: 500}, nil},
		{&Compaction{HistoryMiB: 1}, Options{Rate: 2000, Total: 600}, []string{"before", "during", "after"}},
		{&Watch{Streams: 2, Watchers: 5, Keys: 2}, Options{Total: 300}, []string{"puts", "last watcher"}},
		{&WatchLatency{Streams: 2, Watchers: 5}, Options{Rate: 1000, Total: 300}, []string{"puts", "last watcher", "after answer"}},
	} {
		t.Run(fmt.Sprintf("%s %+v", test.w.Describe().Name, test.w), func(t *testing.T) {
			s := leader()
			o := test.o
			o.Endpoints, o.Clients, o.Connections, o.KeySpace, o.WarmUp = []string{s.start(t, false)}, 8, 2, 1000, -1
			r := run(t, test.w, o)
			if r.Errors != 0 || r.Operations == 0 || r.Rate <= 0 || s.badPuts.Load() != 0 {
				t.Errorf("%+v", r)
			}
			if o.Rate == 0 && r.Unit != "events" && r.Operations != o.Total {
				t.Errorf("%d operations of %d", r.Operations, o.Total)
			}
			var names []string
			for _, series := range r.Series {
				if names = append(names, series.Name); series.Count == 0 {
					t.Errorf("series %s is empty", series.Name)
				}
			}
			if !slices.Equal(names, test.series) {
				t.Errorf("series %v, want %v", names, test.series)
			}
			if len(s.leases) != 0 {
				t.Errorf("leases are left: %v", slices.Collect(maps.Keys(s.leases)))
			}
		})
	}
}

// TestEveryEventIsWaitedFor counts one event a put and watcher on its key.
func TestEveryEventIsWaitedFor(t *testing.T) {
	s := leader()
	r := run(t, &Watch{Streams: 3, Watchers: 4, Ahead: 8}, Options{Endpoints: []string{s.start(t, false)}, Clients: 1, Total: 200, WarmUp: -1})
	if r.Operations != 200*12 || r.Series[1].Count != 200 {
		t.Errorf("%d events at the watchers, %d puts seen by all; want 2400 and 200", r.Operations, r.Series[1].Count)
	}
}

func TestCompactionIsOfTheHistoryAlone(t *testing.T) {
	s := leader()
	run(t, &Compaction{HistoryMiB: 1}, Options{Endpoints: []string{s.start(t, false)}, Clients: 2, KeySpace: 1000, Rate: 1000, Total: 300, WarmUp: -1})
	// 1 MiB are ten times 1,000 keys of 16 + 100 bytes, once more for the newest.
	if got := s.compacted.Load(); got != 10_000 {
		t.Errorf("compacted at %d", got)
	}
}

// TestPhasesOfCompaction has a run of a minute and a half compact for a minute.
func TestPhasesOfCompaction(t *testing.T) {
	for at, want := range map[time.Duration]string{
		0: "before", 15*time.Second - 1: "before",
		15 * time.Second: "during", 75*time.Second - 1: "during",
		75 * time.Second: "after", 2 * time.Minute: "after",
	} {
		if got := phases[phaseAt(at, 90*time.Second)]; got != want {
			t.Errorf("%s is %s, want %s", at, got, want)
		}
	}
}

// fakeProcesses are fake servers that can't be stopped, but know that they were.
type fakeProcesses struct {
	endpoints                []string
	stopped, killed, started atomic.Int64
}

func (p *fakeProcesses) Endpoints() []string { return p.endpoints }
func (p *fakeProcesses) Stop(int) error      { p.stopped.Add(1); return nil }
func (p *fakeProcesses) Kill(int) error      { p.killed.Add(1); return nil }
func (p *fakeProcesses) Start(int) error     { p.started.Add(1); return nil }
func (p *fakeProcesses) Close()              {}

func newProcesses(t *testing.T) *fakeProcesses {
	p := &fakeProcesses{}
	for id := range 3 {
		s := &fakeServer{id: uint64(id + 1), leader: 1}
		p.endpoints = append(p.endpoints, s.start(t, false))
	}
	return p
}

func TestTrials(t *testing.T) {
	p := newProcesses(t)
	o := Options{Endpoints: p.endpoints, Processes: p}
	r := run(t, &Restart{Keys: 250, Trials: 2}, o)
	if len(r.Trials) != 2 || r.Operations != 2 || p.stopped.Load() != 2 || p.started.Load() != 2 {
		t.Errorf("%+v, %+v", r, p)
	}
	if r = run(t, &Restart{Keys: 250, Trials: 1, Kill: true}, o); p.killed.Load() != 1 {
		t.Errorf("%+v, %+v", r, p)
	}
	if r = run(t, &Failover{Trials: 1}, o); len(r.Trials) != 1 || p.killed.Load() != 2 || p.started.Load() != 4 {
		t.Errorf("%+v, %+v", r, p)
	}
}

// TestInterruptedRunIsReported ends a run by its context: what was measured until then is in the report.
func TestInterruptedRunIsReported(t *testing.T) {
	s := leader()
	ctx, cancel := context.WithCancel(t.Context())
	enough := &countdown{Workload: &Writes{}, cancel: cancel}
	r, err := Measure(ctx, enough, Options{Endpoints: []string{s.start(t, false)}, Clients: 2, Duration: time.Hour, WarmUp: -1})
	if err != nil || r.Operations == 0 || r.Errors != 0 || r.Seconds > 1000 {
		t.Errorf("%v, %+v", err, r)
	}
}

// countdown is a workload that cancels its context after some writes.
type countdown struct {
	Workload
	cancel context.CancelFunc
}

func (w *countdown) Run(ctx context.Context, r *Run) error {
	if err := r.Connect(); err != nil {
		return err
	}
	var left atomic.Int64
	left.Store(100)
	r.Drive(ctx, func(client int) Operation {
		put := r.putter(client, nil)
		return func(ctx context.Context, due time.Time) (*Series, error) {
			if left.Add(-1) == 0 {
				w.cancel()
			}
			return put(ctx, due)
		}
	})
	return nil
}
