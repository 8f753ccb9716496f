package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Restart measures how long a member with many keys takes from its start to its first linearizable read.
type Restart struct {
	// Keys is how many there are; default 1,000,000.
	Keys int
	// Trials is how often the member is restarted; default 3.
	Trials int
	// Kill ends the member with SIGKILL in place of SIGTERM.
	Kill bool
}

const (
	defaultRestartKeys   = 1_000_000
	defaultRestartTrials = 3
	// servePatience is how long a member that was started is waited for.
	servePatience = 5 * time.Minute
	// probePause is how long is waited between two questions whether a member serves.
	probePause = 5 * time.Millisecond
)

// Describe implements Workload.
func (w *Restart) Describe() Description {
	return Description{
		Name: "restart", Unit: "restarts", Clients: 1, NeedsProcesses: true,
		Short: "Measure the restart of a member with many keys, to its first linearizable read",
		Long: `Writes --keys keys, and then stops and starts a follower, --trials times. The latency is the time from the start of its
process to the first linearizable read that it answers. It needs a cluster of the benchmark's own.`,
	}
}

// Flags implements Workload.
func (w *Restart) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Keys, "keys", defaultRestartKeys, "keys that the member has")
	flags.IntVar(&w.Trials, "trials", defaultRestartTrials, "how often it is restarted")
	flags.BoolVar(&w.Kill, "kill", false, "end the member with SIGKILL, not SIGTERM")
}

// Run implements Workload.
func (w *Restart) Run(ctx context.Context, r *Run) error {
	keys, trials := w.Keys, w.Trials
	keys = cmp.Or(keys, defaultRestartKeys)
	trials = cmp.Or(trials, defaultRestartTrials)
	if keys < 0 || trials < 0 {
		return errors.New("keys and trials have to be positive")
	}
	if r.KeySize < len(keyPrefix)+len(fmt.Sprint(keys-1)) {
		return fmt.Errorf("keys of %d bytes can't tell %d apart", r.KeySize, keys)
	}
	if _, err := r.Fill(ctx, keys, 1); err != nil {
		return err
	}
	member, err := r.aFollower(ctx)
	if err != nil {
		return err
	}
	for range trials {
		took, err := w.restart(ctx, r, member)
		if err != nil {
			return err
		}
		r.Say("restarted in %.2f s", took.Seconds())
	}
	return nil
}

func (w *Restart) restart(ctx context.Context, r *Run, member int) (time.Duration, error) {
	end := r.Processes.Stop
	if w.Kill {
		end = r.Processes.Kill
	}
	if err := end(member); err != nil {
		return 0, err
	}
	began := r.Clock.Now()
	if err := r.Processes.Start(member); err != nil {
		return 0, err
	}
	if err := r.untilServing(ctx, r.Processes.Endpoints()[member]); err != nil {
		return 0, err
	}
	ended := r.Clock.Now()
	r.Trial(began, ended)
	return ended.Sub(began), nil
}

// aFollower is the number of a member that does not lead.
func (r *Run) aFollower(ctx context.Context) (int, error) {
	for i, e := range r.Processes.Endpoints() {
		if s, err := memberStatus(ctx, e, r.TLS); err == nil && s.Leader != 0 && s.Leader != s.Header.GetMemberId() {
			return i, nil
		}
	}
	return 0, errors.New("no member follows another: a cluster of one, or one without a leader")
}

// untilServing waits until the member at endpoint answers a linearizable read.
func (r *Run) untilServing(ctx context.Context, endpoint string) error {
	conn, err := dial(endpoint, r.TLS, impatient)
	if err != nil {
		return openError(endpoint, err)
	}
	defer conn.Close()
	kv, deadline := pb.NewKVClient(conn), r.Clock.Now().Add(servePatience)
	for {
		_, err := kv.Range(ctx, &pb.RangeRequest{Key: r.key(0)}, grpc.WaitForReady(true))
		switch {
		case err == nil:
			return nil
		case r.Clock.Now().After(deadline):
			return fmt.Errorf("%s does not serve: %w", endpoint, err)
		case !r.sleep(ctx, probePause):
			return ctx.Err()
		}
	}
}

// impatient dials again at once: a server that is not there yet comes in milliseconds, and is to be seen then.
var impatient = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: probePause, Multiplier: 1, MaxDelay: probePause},
	MinConnectTimeout: time.Second,
})
