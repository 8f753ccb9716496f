package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const (
	// drainTimeout is how long the last operations are waited for once a run is over.
	drainTimeout = 10 * time.Second
	// retryPause is how long a client waits after an error, so that a cluster without a leader is not stormed.
	retryPause = 20 * time.Millisecond
)

// Run is one measurement under way: what a workload works with. Its options have their defaults filled in, and
// Endpoints are those to load.
type Run struct {
	Options
	workload Description
	version  string
	conns    []*grpc.ClientConn
	noise    []byte

	main   *Series
	window *window       // nil until the load starts
	begun  chan struct{} // closed once window is there
	pacer  *pacer
	points []Point

	mu      sync.Mutex
	series  []*Series
	figures map[string]float64
	trials  []float64 // in ms
	marks   []Moment
	failed  int64
	errors  map[string]int64
	seconds float64
}

// Measure runs a workload and reports what the cluster gave. A run that ctx cuts short is reported as far as it came.
// Refused operations are counted in the report; the error is for a run that could not be made.
func Measure(ctx context.Context, w Workload, o Options) (Report, error) {
	d := w.Describe()
	o, err := o.withDefaults(d)
	if err != nil {
		return Report{}, err
	}
	found, err := findCluster(ctx, o)
	if err != nil {
		return Report{}, err
	}
	o.Endpoints = found.endpoints
	r := &Run{
		Options: o, workload: d, version: found.version, main: newSeries(d.Unit), begun: make(chan struct{}),
		noise: newNoise(o), figures: map[string]float64{}, errors: map[string]int64{},
	}
	defer r.close()
	if err := w.Run(ctx, r); err != nil {
		return Report{}, fmt.Errorf("bench %s: %w", d.Name, err)
	}
	return newReport(r), nil
}

// Operation does one thing once, and returns the series that its latency belongs to beside the run's own; nil for none.
type Operation func(ctx context.Context, due time.Time) (*Series, error)

// Drive applies the load: every client does operations of its own making, one after the other, until the run is over.
func (r *Run) Drive(ctx context.Context, newOperation func(client int) Operation) {
	r.Go(ctx, func(ctx context.Context, client int) {
		r.loop(ctx, client, newOperation(client))
	}, nil)
}

func (r *Run) loop(ctx context.Context, client int, do Operation) {
	for due, ok := r.Next(ctx); ok; due, ok = r.Next(ctx) {
		series, err := do(ctx, due)
		if r.Record(client, due, err, r.main, series); err != nil {
			r.pause()
		}
	}
}

// Go runs every client in a goroutine of its own until the run is over, waits for them, calls settle, if that is not
// nil, to wait for what their operations set off, and takes stock. Operations in flight outlive the end of the run, and of
// ctx, so that no server is left with cancelled calls to clean up; but not for ever.
func (r *Run) Go(ctx context.Context, run func(ctx context.Context, client int), settle func(ctx context.Context)) {
	calls, cancelCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	r.begin()
	var clients sync.WaitGroup
	for i := range r.Clients {
		clients.Go(func() { run(calls, i) })
	}
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	line := newTimeline(r.main, r.window)
	r.waitForEnd(ctx, line)
	giveUp := r.Clock.NewTimer(drainTimeout)
	defer giveUp.Stop()
	select {
	case <-ended:
	case <-giveUp.C():
		cancelCalls()
		<-ended
	}
	if settle != nil {
		settle(ctx)
	}
	r.finish(ctx, line)
}

// begin starts the clock of the measurement.
func (r *Run) begin() {
	now := r.Clock.Now()
	r.window = newWindow(r.Options, now)
	r.pacer = newPacer(r.Options, r.window, now)
	close(r.begun)
}

// waitForEnd returns once the run is over: its time is up, its operations are done, or ctx has ended.
func (r *Run) waitForEnd(ctx context.Context, line *timeline) {
	bar := newProgress(r)
	defer bar.finish()
	tick := r.Clock.NewTicker(shortestStretch)
	defer tick.Stop()
	var end <-chan time.Time
	if !r.window.end.IsZero() {
		timer := r.Clock.NewTimer(r.window.end.Sub(r.Clock.Now()))
		defer timer.Stop()
		end = timer.C()
	}
	defer r.window.finish()
	for {
		select {
		case <-tick.C():
			now := r.Clock.Now()
			line.update(now)
			bar.update(now)
		case <-end:
			return
		case <-r.window.over:
			return
		case <-ctx.Done():
			r.window.cut.Store(true)
			return
		}
	}
}

// finish takes stock: how long the measured part took, and what was in its last stretch.
func (r *Run) finish(ctx context.Context, line *timeline) {
	now := r.Clock.Now()
	end := r.window.end
	if end.IsZero() || ctx.Err() != nil && now.Before(end) {
		end = now
	}
	line.finish(end)
	r.points = line.points
	switch last := r.main.last; {
	case r.total() && !last.IsZero(), last.After(end): // answered late, but counted
		end = last
	}
	r.seconds = max(end.Sub(r.window.start).Seconds(), 0)
}

func (r *Run) total() bool { return r.window.total > 0 && r.window.taken.Load() >= r.window.total }

// Next returns when the client's next operation was due, once that moment has come; false when the run is over.
func (r *Run) Next(ctx context.Context) (due time.Time, ok bool) { return r.pacer.next(ctx) }

// Record notes that an operation which was due then has now been answered, in the series that it belongs to, if it
// counts. A nil series is ignored.
func (r *Run) Record(client int, due time.Time, err error, in ...*Series) {
	now := r.Clock.Now()
	if !r.window.counts(due, now) {
		return
	}
	if err != nil {
		r.recordError(err)
		return
	}
	if !r.window.take() {
		return
	}
	for _, s := range in {
		if s != nil {
			s.add(client, due, now)
		}
	}
	r.window.finishIfFull()
}

// Observe notes something that followed from an operation, such as an event: it counts if what it followed from was due
// in the measured time, however late it came.
func (r *Run) Observe(s *Series, client int, due, seen time.Time) {
	if r.window.covers(due) {
		s.add(client, due, seen)
	}
}

// Trial notes one event of a workload that has no load to speak of: that it began and ended then.
func (r *Run) Trial(began, ended time.Time) {
	r.main.add(0, began, ended)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trials = append(r.trials, float64(ended.Sub(began))/float64(time.Millisecond))
}

func (r *Run) recordError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	r.errors[errorText(err)]++
}

// Main is the series that the report's rate and latencies are of.
func (r *Run) Main() *Series { return r.main }

// Series is a new distribution, reported under name.
func (r *Run) Series(name string) *Series {
	s := newSeries(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.series = append(r.series, s)
	return s
}

// Figure reports a number of the workload's own. Its unit ends the name: load_seconds, disk_bytes.
func (r *Run) Figure(name string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures[name] = value
}

// Mark notes that something happened now, to be shown where the run is plotted over time.
func (r *Run) Mark(name string) {
	now := r.Clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, Moment{name, now.Sub(r.window.start).Seconds()})
}

// Say tells a person who watches what goes on before the load starts.
func (r *Run) Say(format string, args ...any) {
	if r.Progress != nil {
		fmt.Fprintf(r.Progress, format+"\n", args...)
	}
}

// pause waits a little, or until the run is over. At a constant rate there is no need to: nothing storms.
func (r *Run) pause() {
	if r.Rate > 0 {
		return
	}
	t := r.Clock.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C():
	case <-r.window.over:
	}
}

// Connect opens the run's connections, which end with it.
func (r *Run) Connect() error {
	for i := len(r.conns); i < r.Connections; i++ {
		endpoint := r.Endpoints[i%len(r.Endpoints)]
		conn, err := dial(endpoint, r.TLS)
		if err != nil {
			return openError(endpoint, err)
		}
		conn.Connect()
		r.conns = append(r.conns, conn)
	}
	return nil
}

// Conn is the connection of a client, once Connect has opened them.
func (r *Run) Conn(client int) *grpc.ClientConn { return r.conns[client%len(r.conns)] }

func (r *Run) close() {
	for _, c := range r.conns {
		_ = c.Close()
	}
}

// openError says what a run could not open.
func openError(endpoint string, err error) error {
	return fmt.Errorf("connect to %s: %w", endpoint, err)
}

// errorText is what errors are told apart by: the server's words where it has some.
func errorText(err error) string {
	var fromServer interface{ GRPCStatus() *status.Status }
	if errors.As(err, &fromServer) {
		s := fromServer.GRPCStatus()
		return s.Code().String() + ": " + s.Message()
	}
	return err.Error()
}
