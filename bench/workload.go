package bench

import (
	"context"

	"github.com/spf13/pflag"
)

// Workload is one way of loading a cluster. Its fields are its own settings: zero values mean its defaults. The same
// value may be run several times, and on several clusters, one after the other.
type Workload interface {
	// Describe says what the workload is called and what it does.
	Describe() Description
	// Flags adds the settings that only this workload has.
	Flags(flags *pflag.FlagSet)
	// Run brings the cluster into the state that the load needs, applies the load through r, and returns once it is
	// over. The error is for a load that could not be applied; refused operations are recorded in r.
	Run(ctx context.Context, r *Run) error
}

// Description is what is said about a workload.
type Description struct {
	Name  string // its command
	Unit  string // what its operations are called, in the plural
	Short string // one line
	Long  string
	// Clients and Rate are its defaults for the options of these names.
	Clients int
	Rate    float64
	// NeedsProcesses is set for a workload that stops and starts members.
	NeedsProcesses bool
}

// Processes is a cluster whose members can be stopped and started.
type Processes interface {
	// Endpoints are the members' client addresses; the other methods count members as they do.
	Endpoints() []string
	// Stop asks a member to end and waits until it has.
	Stop(member int) error
	// Kill ends a member without notice.
	Kill(member int) error
	// Start starts a stopped member again with its data. It does not wait until it serves.
	Start(member int) error
}

// Workloads are all there are, in the order in which `bench all` runs them.
func Workloads() []Workload {
	return []Workload{
		&Writes{}, &Reads{}, &Txns{}, &Mixed{}, &Watch{}, &WatchLatency{}, &Leases{}, &Compaction{}, &Failover{}, &Restart{},
	}
}
