package bench

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Reads reads random keys, or ranges of neighbouring ones.
type Reads struct {
	// Serializable reads what the member has, which may be old; otherwise reads are linearizable.
	Serializable bool
	// RangeSize is how many keys a read is of; default 1.
	RangeSize int
}

// Describe implements Workload.
func (w *Reads) Describe() Description {
	return Description{
		Name: "reads", Unit: "reads", Clients: 100, Short: "Measure reads: linearizable or serializable, of one key or a range",
		Long: `Writes every key of the key space once, and then reads random ones: one key at a time, or --range-size neighbouring keys.`,
	}
}

// Flags implements Workload.
func (w *Reads) Flags(flags *pflag.FlagSet) {
	flags.BoolVar(&w.Serializable, "serializable", false, "let each member answer with what it has, without asking the others")
	flags.IntVar(&w.RangeSize, "range-size", 1, "keys a read")
}

// Run implements Workload.
func (w *Reads) Run(ctx context.Context, r *Run) error {
	size := max(w.RangeSize, 1)
	if size > r.KeySpace {
		return errors.New("the range is larger than the key space")
	}
	if _, err := r.Fill(ctx, r.KeySpace, 1); err != nil {
		return err
	}
	r.Drive(ctx, func(client int) Operation { return r.reader(client, size, w.Serializable, nil) })
	return nil
}

// errMissing is recorded for a read that does not find what was written before.
var errMissing = errors.New("a read found fewer keys than were written")

// reader is an operation that reads size keys from a random one on, recorded in series too.
func (r *Run) reader(client, size int, serializable bool, series *Series) Operation {
	kv, p := pb.NewKVClient(r.Conn(client)), r.Payload(client)
	req := &pb.RangeRequest{Key: make([]byte, r.KeySize), Serializable: serializable}
	return func(ctx context.Context, _ time.Time) (*Series, error) {
		from := p.Number(r.KeySpace - size + 1)
		if writeKey(req.Key, from); size > 1 {
			last := r.key(from + size - 1)
			req.RangeEnd = append(last, 0) // right behind the last
		}
		resp, err := kv.Range(ctx, req)
		if err == nil && len(resp.Kvs) < size {
			err = errMissing
		}
		return series, err
	}
}
