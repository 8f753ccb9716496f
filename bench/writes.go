package bench

import (
	"context"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Writes puts random keys.
type Writes struct {
	// Pipeline is how many writes each client has in flight, over ctlplane's write stream; 0: one, each its own RPC.
	Pipeline int
}

// pipelineClients is how many clients are enough to fill write streams.
const pipelineClients = 10

// Describe implements Workload.
func (w *Writes) Describe() Description {
	clients := 1000
	if w.Pipeline > 0 {
		clients = pipelineClients
	}
	return Description{
		Name: "writes", Unit: "writes", Clients: clients, Short: "Measure replicated writes: throughput and latency",
		Long: `Puts random keys of the key space. A write is acknowledged once a majority of the members has it on disk.`,
	}
}

// Flags implements Workload.
func (w *Writes) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Pipeline, "pipeline", 0, "writes in flight per client, over the client library's write stream (0: one RPC per write)")
}

// Run implements Workload.
func (w *Writes) Run(ctx context.Context, r *Run) error {
	if w.Pipeline > 0 {
		return w.runPipelined(ctx, r)
	}
	if err := r.Connect(); err != nil {
		return err
	}
	r.Drive(ctx, func(client int) Operation { return r.putter(client, nil) })
	return nil
}

// putter is an operation that puts a random key, recorded in series too.
func (r *Run) putter(client int, series *Series) Operation {
	kv, p := pb.NewKVClient(r.Conn(client)), r.Payload(client)
	req := &pb.PutRequest{Key: make([]byte, r.KeySize)}
	return func(ctx context.Context, _ time.Time) (*Series, error) {
		p.Key(req.Key)
		req.Value = p.Value()
		_, err := kv.Put(ctx, req)
		return series, err
	}
}
