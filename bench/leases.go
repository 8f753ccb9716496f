package bench

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Leases grants leases and keeps them alive.
type Leases struct {
	// GrantEvery is how many operations there are to one grant; default 20. The others are keepalives.
	GrantEvery int
	// TTL is the time to live of a lease, in seconds; default 60.
	TTL int64
}

const (
	defaultGrantEvery = 20
	defaultLeaseTTL   = 60
	// leasesPerClient bounds how many leases a client holds: it revokes the oldest before it takes another.
	leasesPerClient = 16
)

// Describe implements Workload.
func (w *Leases) Describe() Description {
	return Description{
		Name: "lease", Unit: "operations", Clients: 100, Short: "Measure leases: grants and keepalives",
		Long: `Each client grants leases, keeps them alive over one stream, and revokes the oldest once it holds ` +
			`16. The report also has grants, keepalives and revocations separately.`,
	}
}

// Flags implements Workload.
func (w *Leases) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.GrantEvery, "grant-every", defaultGrantEvery, "one operation in so many grants a lease; the others are keepalives")
	flags.Int64Var(&w.TTL, "ttl", defaultLeaseTTL, "seconds that a lease lives")
}

// Run implements Workload.
func (w *Leases) Run(ctx context.Context, r *Run) error {
	every, ttl := w.GrantEvery, w.TTL
	every = cmp.Or(every, defaultGrantEvery)
	ttl = cmp.Or(ttl, int64(defaultLeaseTTL))
	if every < 0 || ttl < 0 {
		return errors.New("--grant-every and --ttl have to be positive")
	}
	if err := r.Connect(); err != nil {
		return err
	}
	grants, keepalives, revokes := r.Series("grants"), r.Series("keepalives"), r.Series("revocations")
	r.Go(ctx, func(ctx context.Context, client int) {
		h := &leaseHolder{client: pb.NewLeaseClient(r.Conn(client)), ttl: ttl, every: every,
			grants: grants, keepalives: keepalives, revokes: revokes}
		defer h.revokeAll(ctx)
		r.loop(ctx, client, h.next)
	}, nil)
	return nil
}

// leaseHolder is one client and the leases that it has, the oldest first.
type leaseHolder struct {
	client                      pb.LeaseClient
	ttl                         int64
	every, done                 int
	held                        []int64
	stream                      pb.Lease_LeaseKeepAliveClient // nil until it is needed, and after it broke
	grants, keepalives, revokes *Series
}

// next grants the first lease and every so many operations another, and keeps those that there are alive in turn.
func (h *leaseHolder) next(ctx context.Context, _ time.Time) (*Series, error) {
	if h.done++; len(h.held) == 0 || h.done%h.every == 0 {
		if len(h.held) < leasesPerClient {
			return h.grants, h.grant(ctx)
		}
		h.done-- // the grant comes next
		oldest := h.held[0]
		h.held = h.held[1:]
		_, err := h.client.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: oldest})
		return h.revokes, err
	}
	return h.keepalives, h.keepAlive(ctx, h.held[h.done%len(h.held)])
}

func (h *leaseHolder) grant(ctx context.Context) error {
	resp, err := h.client.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: h.ttl})
	if err == nil {
		h.held = append(h.held, resp.ID)
	}
	return err
}

// errLeaseLost is recorded for a lease that is gone although it was kept alive.
var errLeaseLost = errors.New("a lease that was kept alive has expired")

func (h *leaseHolder) keepAlive(ctx context.Context, id int64) (err error) {
	if h.stream == nil {
		if h.stream, err = h.client.LeaseKeepAlive(ctx); err != nil {
			h.stream = nil
			return err
		}
	}
	err = h.stream.Send(&pb.LeaseKeepAliveRequest{ID: id})
	var resp *pb.LeaseKeepAliveResponse
	if err == nil {
		resp, err = h.stream.Recv()
	}
	switch {
	case err != nil:
		h.stream = nil
	case resp.TTL <= 0:
		err = errLeaseLost
		h.held = nil
	}
	return err
}

// revokeAll leaves no lease behind. One that can't be revoked expires by itself.
func (h *leaseHolder) revokeAll(ctx context.Context) {
	if h.stream != nil {
		_ = h.stream.CloseSend()
	}
	for _, id := range h.held {
		if _, err := h.client.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}); err != nil {
			return
		}
	}
}
