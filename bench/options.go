// Package bench holds the load generators behind `ctlplane bench`. They speak etcd's gRPC API, and so measure a
// ctlplane cluster and an etcd alike; pipelined writes need ctlplane's own write stream.
//
// A Workload says what is done, Options how much of it and to whom, and Measure runs it and makes the Report. Clients go
// round in a closed loop, or at a constant rate with every latency counted from the moment at which the operation was due.
package bench

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"k8s.io/utils/clock"
)

// Target says which of the endpoints are loaded.
type Target string

const (
	TargetLeader Target = "leader" // only the member that leads: no write is forwarded
	TargetAll    Target = "all"    // all endpoints in turn, one a connection
)

// keyPrefix starts every key that a benchmark writes, so that they are found and removed again.
const keyPrefix = "bench/"

// The times of a run that is not told otherwise.
const (
	defaultDuration = 10 * time.Second
	defaultWarmUp   = time.Second
)

// Options describe a run of any workload. Zero values mean the defaults named.
type Options struct {
	Endpoints []string    // client addresses, host:port, http://… or https://…
	TLS       *tls.Config // nil: plain text
	// Processes are the members as processes, for the workloads that stop and start them; nil where there are none.
	Processes Processes

	Clients     int    // concurrent clients; the default is the workload's
	Connections int    // gRPC connections that they share; default 10, at most one a client
	Target      Target // default TargetLeader

	KeySize   int // bytes; default 16
	KeySpace  int // how many keys are used, chosen at random; default 100,000
	ValueSize int // bytes; 0 is a legal size. The values can't be compressed

	Duration time.Duration // how long is measured; default 10 s. Ignored when Total is set
	Total    int64         // how many operations are measured; 0: by time
	WarmUp   time.Duration // left out of the measurement; default 1 s, negative: none
	// Rate is how many operations a second all clients start together, evenly spread; 0 is the workload's own rate,
	// which for most is none: every client starts its next operation when the last is answered.
	Rate float64

	// Seed makes the sequence of keys of each client repeatable.
	Seed uint64
	// Progress is where a progress bar is drawn while the run lasts; nil: none.
	Progress io.Writer
	// Clock is the clock of the run; default the real one.
	Clock clock.WithTicker
}

// withDefaults fills in what is not set, for a workload as d describes it, and refuses what can't be run.
func (o Options) withDefaults(d Description) (Options, error) {
	o.Clients = cmp.Or(o.Clients, d.Clients)
	o.Connections = cmp.Or(o.Connections, 10)
	o.Connections = min(o.Connections, o.Clients)
	o.Target = cmp.Or(o.Target, TargetLeader)
	o.KeySize = cmp.Or(o.KeySize, 16)
	o.KeySpace = cmp.Or(o.KeySpace, 100_000)
	o.Duration = cmp.Or(o.Duration, defaultDuration)
	o.WarmUp = cmp.Or(o.WarmUp, defaultWarmUp)
	o.Rate = cmp.Or(o.Rate, d.Rate)
	o.WarmUp = max(o.WarmUp, 0)
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if err := o.validate(d); err != nil {
		return o, err
	}
	if o.Rate > 0 && o.Total > 0 {
		// As many operations at this rate are a time: what is counted is what was due in it.
		o.Duration, o.Total = time.Duration(float64(o.Total)/o.Rate*float64(time.Second)), 0
	}
	return o, nil
}

// validate refuses options that no run can be made with.
func (o Options) validate(d Description) error {
	digits := len(strconv.Itoa(max(o.KeySpace-1, 0)))
	switch {
	case len(o.Endpoints) == 0:
		return errors.New("bench: no endpoints to load")
	case o.Clients <= 0 || o.Connections <= 0 || o.KeySpace <= 0:
		return errors.New("bench: clients, connections and key space have to be positive")
	case o.Total < 0 || o.Duration < 0 || o.Rate < 0:
		return errors.New("bench: total, duration and rate can't be negative")
	case o.Target != TargetLeader && o.Target != TargetAll:
		return fmt.Errorf("bench: target %q is neither %q nor %q", o.Target, TargetLeader, TargetAll)
	case o.KeySize < len(keyPrefix)+digits:
		return fmt.Errorf("bench: a key of %d bytes can't tell %d keys apart: it takes %d, for %q and %d digits",
			o.KeySize, o.KeySpace, len(keyPrefix)+digits, keyPrefix, digits)
	case o.ValueSize < 0 || o.KeySize+o.ValueSize > maxWrite:
		return fmt.Errorf("bench: key and value together take between 0 and %d bytes", maxWrite)
	case d.NeedsProcesses && o.Processes == nil:
		return fmt.Errorf("bench: %s stops and starts members: it needs a cluster of its own processes, not endpoints", d.Name)
	}
	return nil
}

// maxWrite is what servers take in one request, 1.5 MiB, less some room for what surrounds key and value.
const maxWrite = 3<<19 - 1024
