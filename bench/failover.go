package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Failover measures how long no write is acknowledged after the leader was killed.
type Failover struct {
	// Trials is how often a leader is killed; default 5.
	Trials int
}

const (
	defaultFailoverTrials = 5
	// failoverCalm is how long the members have worked together before one is killed.
	failoverCalm = time.Second
	// failoverPatience is how long the next write is waited for.
	failoverPatience = time.Minute
)

// Describe implements Workload.
func (w *Failover) Describe() Description {
	return Description{
		Name: "failover", Unit: "fail-overs", Clients: 1, NeedsProcesses: true,
		Short: "Measure how long writes wait when the leader is killed with -9",
		Long: `Kills the leader with SIGKILL, and sends a write to the other members every 5 ms. The latency is the time from the kill to
the first acknowledgement of a write that was sent after it. The killed member is started again before the next of --trials. It
needs a cluster of the benchmark's own.`,
	}
}

// Flags implements Workload.
func (w *Failover) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Trials, "trials", defaultFailoverTrials, "how often a leader is killed")
}

// Run implements Workload.
func (w *Failover) Run(ctx context.Context, r *Run) error {
	trials := w.Trials
	trials = cmp.Or(trials, defaultFailoverTrials)
	if trials < 0 {
		return errors.New("trials have to be positive")
	}
	for range trials {
		took, err := r.failOver(ctx)
		if err != nil {
			return err
		}
		r.Say("the next write after %.3f s", took.Seconds())
	}
	return nil
}

// failOver kills the leader once, measures, and starts it again.
func (r *Run) failOver(ctx context.Context) (took time.Duration, err error) {
	leader, others, err := r.leaderAndOthers(ctx)
	if err != nil {
		return 0, err
	}
	for _, e := range r.Processes.Endpoints() { // the last trial may not be over for all
		if err := r.untilServing(ctx, e); err != nil {
			return 0, err
		}
	}
	if !r.sleep(ctx, failoverCalm) {
		return 0, ctx.Err()
	}
	p, err := r.newProbe(ctx, others)
	if err != nil {
		return 0, err
	}
	defer p.close()
	killed := r.Clock.Now()
	if err := r.Processes.Kill(leader); err != nil {
		return 0, err
	}
	acknowledged, err := p.first(ctx)
	if err != nil {
		return 0, err
	}
	r.Trial(killed, acknowledged)
	return acknowledged.Sub(killed), r.Processes.Start(leader)
}

// leaderAndOthers is the number of the member that leads, and the addresses of the others.
func (r *Run) leaderAndOthers(ctx context.Context) (leader int, others []string, err error) {
	o := r.Options
	o.Endpoints, o.Target = r.Processes.Endpoints(), TargetLeader
	found, err := findCluster(ctx, o)
	if err != nil {
		return 0, nil, err
	}
	for i, e := range o.Endpoints {
		if e == found.endpoints[0] {
			leader = i
		} else {
			others = append(others, e)
		}
	}
	if len(others) == 0 {
		return 0, nil, errors.New("a cluster of one has nobody to take over")
	}
	return leader, others, nil
}

// probe offers writes to several members, whether those before were answered or not: a write that a member has sent to the
// dead leader may hang for seconds, and must not keep others from being tried.
type probe struct {
	run     *Run
	key     []byte
	members []pb.KVClient
	conns   []*grpc.ClientConn
	cancel  context.CancelFunc
	writes  sync.WaitGroup
	answers chan time.Time // of the first acknowledgement
	once    sync.Once
	ctx     context.Context // of all writes
}

func (r *Run) newProbe(ctx context.Context, endpoints []string) (*probe, error) {
	p := &probe{run: r, key: r.key(0), answers: make(chan time.Time, 1)}
	p.ctx, p.cancel = context.WithTimeout(ctx, failoverPatience)
	for _, e := range endpoints {
		conn, err := dial(e, r.TLS, impatient)
		if err != nil {
			p.close()
			return nil, openError(e, err)
		}
		p.conns = append(p.conns, conn)
		p.members = append(p.members, pb.NewKVClient(conn))
		if _, err := p.members[len(p.members)-1].Put(p.ctx, &pb.PutRequest{Key: p.key}); err != nil {
			p.close()
			return nil, fmt.Errorf("%s takes no write before the leader is killed: %w", e, err)
		}
	}
	return p, nil
}

// first offers writes until one is acknowledged, and returns when that was.
func (p *probe) first(ctx context.Context) (time.Time, error) {
	for i := 0; ; i++ {
		p.writes.Go(func() { p.offer(p.members[i%len(p.members)]) })
		timer := p.run.Clock.NewTimer(probePause)
		select {
		case when := <-p.answers:
			timer.Stop()
			return when, nil
		case <-p.ctx.Done():
			timer.Stop()
			if err := ctx.Err(); err != nil {
				return time.Time{}, err
			}
			return time.Time{}, fmt.Errorf("no write was acknowledged within %s of the leader's death", failoverPatience)
		case <-timer.C():
		}
	}
}

func (p *probe) offer(member pb.KVClient) {
	_, err := member.Put(p.ctx, &pb.PutRequest{Key: p.key})
	if err != nil {
		return // this one was refused or lost: that is what a fail-over is
	}
	now := p.run.Clock.Now()
	p.once.Do(func() { p.answers <- now })
}

func (p *probe) close() {
	p.cancel()
	p.writes.Wait()
	for _, c := range p.conns {
		_ = c.Close()
	}
}
