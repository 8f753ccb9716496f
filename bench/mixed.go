package bench

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Mixed reads and writes random keys.
type Mixed struct {
	// ReadRatio is the share of reads, from 0 to 1; default 0.9.
	ReadRatio float64
	// Serializable reads what the member has, which may be old.
	Serializable bool
}

const defaultReadRatio = 0.9

// Describe implements Workload.
func (w *Mixed) Describe() Description {
	return Description{
		Name: "mixed", Unit: "operations", Clients: 100, Short: "Measure reads and writes together",
		Long: `Writes every key of the key space once, and then reads and writes random ones. The report also has reads and writes separately.`,
	}
}

// Flags implements Workload.
func (w *Mixed) Flags(flags *pflag.FlagSet) {
	flags.Float64Var(&w.ReadRatio, "read-ratio", defaultReadRatio, "share of reads, above 0 and below 1")
	flags.BoolVar(&w.Serializable, "serializable", false, "read what the member has, without asking the others")
}

// Run implements Workload.
func (w *Mixed) Run(ctx context.Context, r *Run) error {
	ratio := w.ReadRatio
	ratio = cmp.Or(ratio, defaultReadRatio)
	if ratio <= 0 || ratio >= 1 {
		return fmt.Errorf("a read ratio of %v leaves nothing mixed: use reads or writes", ratio)
	}
	if _, err := r.Fill(ctx, r.KeySpace, 1); err != nil {
		return err
	}
	reads, writes := r.Series("reads"), r.Series("writes")
	r.Drive(ctx, func(client int) Operation {
		read, write := r.reader(client, 1, w.Serializable, reads), r.putter(client, writes)
		dice := r.Payload(client)
		return func(ctx context.Context, due time.Time) (*Series, error) {
			if dice.rng.Float64() < ratio {
				return read(ctx, due)
			}
			return write(ctx, due)
		}
	})
	return nil
}
