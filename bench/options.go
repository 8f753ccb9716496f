// Package bench holds the load generators behind `ctlplane bench`. They speak etcd's gRPC API, and so measure a
// ctlplane cluster and an etcd alike; pipelined writes need ctlplane's own write stream.
package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Target says which of the endpoints are written to.
type Target string

const (
	TargetLeader Target = "leader" // only the member that leads: no write is forwarded
	TargetAll    Target = "all"    // all endpoints in turn, one a connection
)

// keyPrefix starts every key that a benchmark writes, so that they are found and removed again.
const keyPrefix = "bench/"

// Options describe a run of writes. Zero values mean the defaults named.
type Options struct {
	Endpoints []string    // client addresses, host:port, http://… or https://…
	TLS       *tls.Config // nil: plain text

	Clients     int    // concurrent writers; default 1000, with Pipeline 10
	Connections int    // gRPC connections that they share; default 10, at most one a client
	Pipeline    int    // writes in flight a client, over the write stream; 0: one, each its own RPC
	Target      Target // default TargetLeader

	KeySize   int // bytes; default 16
	KeySpace  int // how many keys are written to, chosen at random; default 100,000
	ValueSize int // bytes; 0 is a legal size. The values can't be compressed

	Duration time.Duration // how long is measured; default 10 s. Ignored when Total is set
	Total    int64         // how many writes are measured; 0: by time
	WarmUp   time.Duration // left out of the measurement; default 1 s, negative: none

	// Seed makes the sequence of keys of each client repeatable.
	Seed uint64
	// Progress is where a progress bar is drawn while the run lasts; nil: none.
	Progress io.Writer
}

// withDefaults fills in what is not set, and refuses what can't be run.
func (o Options) withDefaults() (Options, error) {
	setDefault(&o.Clients, map[bool]int{false: 1000, true: 10}[o.Pipeline > 0])
	setDefault(&o.Connections, 10)
	o.Connections = min(o.Connections, o.Clients)
	setDefault(&o.Target, TargetLeader)
	setDefault(&o.KeySize, 16)
	setDefault(&o.KeySpace, 100_000)
	setDefault(&o.Duration, 10*time.Second)
	setDefault(&o.WarmUp, time.Second)
	o.WarmUp = max(o.WarmUp, 0)
	return o, o.validate()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) validate() error {
	digits := len(strconv.Itoa(o.KeySpace - 1))
	switch {
	case len(o.Endpoints) == 0:
		return errors.New("bench: no endpoints to write to")
	case o.Clients < 0 || o.Connections < 0 || o.Pipeline < 0 || o.KeySpace < 0 || o.Total < 0 || o.Duration < 0:
		return errors.New("bench: clients, connections, pipeline, key space, total and duration can't be negative")
	case o.Target != TargetLeader && o.Target != TargetAll:
		return fmt.Errorf("bench: target %q is neither %q nor %q", o.Target, TargetLeader, TargetAll)
	case o.KeySize < len(keyPrefix)+digits:
		return fmt.Errorf("bench: a key of %d bytes can't tell %d keys apart: it takes %d, for %q and %d digits",
			o.KeySize, o.KeySpace, len(keyPrefix)+digits, keyPrefix, digits)
	case o.ValueSize < 0 || o.KeySize+o.ValueSize > maxWrite:
		return fmt.Errorf("bench: key and value together take between 0 and %d bytes", maxWrite)
	}
	return nil
}

// maxWrite is what servers take in one request, 1.5 MiB, less some room for what surrounds key and value.
const maxWrite = 3<<19 - 1024
