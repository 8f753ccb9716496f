package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Txns runs transactions that put several keys, or that update one as Kubernetes does.
type Txns struct {
	// Puts is how many keys a transaction puts; default 1.
	Puts int
	// Guarded makes every transaction an update of one key under the condition that nobody else has changed it.
	Guarded bool
}

// Describe implements Workload.
func (w *Txns) Describe() Description {
	return Description{
		Name: "txn", Unit: "txns", Clients: 100, Short: "Measure transactions: several puts at once, or guarded updates",
		Long: `Sends transactions of --puts puts each. With --guarded each client updates a key of its own as Kubernetes does: it puts if
the mod revision is still the one that it knows, and gets otherwise.`,
	}
}

// Flags implements Workload.
func (w *Txns) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Puts, "puts", 1, "puts a transaction")
	flags.BoolVar(&w.Guarded, "guarded", false, "update under a compare of the mod revision, one key a client")
}

// Run implements Workload.
func (w *Txns) Run(ctx context.Context, r *Run) error {
	puts := max(w.Puts, 1)
	switch {
	case w.Guarded && puts > 1:
		return errors.New("a guarded transaction puts one key: leave --puts out")
	case w.Guarded && r.Clients > r.KeySpace:
		return fmt.Errorf("guarded transactions take a key a client: make the key space %d or more", r.Clients)
	case puts > r.KeySpace:
		return errors.New("a transaction can't put more keys than the key space has")
	}
	if err := r.Connect(); err != nil {
		return err
	}
	r.Drive(ctx, func(client int) Operation {
		if w.Guarded {
			return r.updater(client)
		}
		return r.multiPutter(client, puts)
	})
	return nil
}

// multiPutter puts n neighbouring keys, from a random one on: a transaction must not put one key twice.
func (r *Run) multiPutter(client, n int) Operation {
	kv, p := pb.NewKVClient(r.Conn(client)), r.Payload(client)
	txn := &pb.TxnRequest{}
	puts := make([]*pb.PutRequest, n)
	for i := range puts {
		puts[i] = &pb.PutRequest{Key: make([]byte, r.KeySize)}
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: puts[i]}})
	}
	return func(ctx context.Context, _ time.Time) (*Series, error) {
		from := p.Number(r.KeySpace - n + 1)
		for i, put := range puts {
			writeKey(put.Key, from+i)
			put.Value = p.Value()
		}
		_, err := kv.Txn(ctx, txn)
		return nil, err
	}
}

// errConflict is recorded when a key that only one client updates has been changed by somebody else.
var errConflict = errors.New("the key was changed by somebody else")

// updater updates the client's own key under the revision that it has last seen.
func (r *Run) updater(client int) Operation {
	kv, p, key := pb.NewKVClient(r.Conn(client)), r.Payload(client), r.key(client)
	known := &pb.Compare_ModRevision{}
	put := &pb.PutRequest{Key: key}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: known}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
	learned := false
	return func(ctx context.Context, _ time.Time) (*Series, error) {
		put.Value = p.Value()
		resp, err := kv.Txn(ctx, txn)
		if err != nil {
			learned = false // it may have happened
			return nil, err
		}
		if resp.Succeeded {
			known.ModRevision, learned = resp.Header.Revision, true
			return nil, nil
		}
		known.ModRevision = 0
		for _, found := range resp.Responses[0].GetResponseRange().GetKvs() {
			known.ModRevision = found.ModRevision
		}
		if !learned { // the first answer tells what an earlier run left
			learned = true
			return nil, nil
		}
		return nil, errConflict
	}
}
