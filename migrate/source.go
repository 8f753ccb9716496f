package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

const (
	// askPatience bounds one question to the etcd.
	askPatience = 5 * time.Second
	// A machine that is lost sends nothing, not even an end: the connection is asked whether it is there.
	pingInterval = 10 * time.Second
	pingPatience = 5 * time.Second
	// leaseQuestions is how many leases are asked for at once.
	leaseQuestions = 128
)

var (
	// errOtherCluster says that what answers is not what was copied.
	errOtherCluster = errors.New("another etcd cluster answers than the one that the copy is of")
	// errUnsettled says that a member of the etcd has not come as far as another; it will.
	errUnsettled = errors.New("the etcd's members are not level")
)

// Source is the etcd that is copied.
//
// Invariant: it asks one member at a time. Some of etcd's answers are of the member that is asked, and may be older than what
// another has told before: asked one after another on one connection, they are not.
type Source struct {
	admin *clientv3.Client
	bare  *clientv3.Client // for clients' calls: it has no user

	mu        sync.Mutex
	cluster   uint64 // 0: not known yet
	endpoints []string
	asked     int
}

// Dial prepares to talk to the etcd at the endpoints of config, with its user, who must be root where users are enabled.
func Dial(config clientv3.Config) (*Source, error) {
	config.DialKeepAliveTime, config.DialKeepAliveTimeout = pingInterval, pingPatience
	s := &Source{endpoints: config.Endpoints}
	bare := config
	bare.Username, bare.Password, bare.Token = "", "", ""
	bare.MaxCallSendMsgSize = maxMessage
	var err error
	if s.bare, err = clientv3.New(bare); err != nil {
		return nil, err
	}
	for i := range s.endpoints {
		one := config
		one.Endpoints = s.endpoints[i : i+1]
		if s.admin, err = clientv3.New(one); err == nil {
			s.asked = i
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("log in at %s: %w", strings.Join(s.endpoints, ", "), err), s.bare.Close())
}

// Close ends the connections.
func (s *Source) Close() error { return errors.Join(s.admin.Close(), s.bare.Close()) }

// next asks another member from now on.
func (s *Source) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = (s.asked + 1) % len(s.endpoints)
	s.admin.SetEndpoints(s.endpoints[s.asked])
}

// sameCluster refuses the answers of another cluster than the first.
func (s *Source) sameCluster(h *pb.ResponseHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == 0 {
		s.cluster = h.ClusterId
	}
	if h.ClusterId != s.cluster {
		return fmt.Errorf("%w: %x, not %x", errOtherCluster, h.ClusterId, s.cluster)
	}
	return nil
}

// patiently bounds one question.
func patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, askPatience, fmt.Errorf("no answer within %s", askPatience))
}

// unanswered says what the etcd was asked for and why it did not answer: nil for no error.
func unanswered(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("ask the old etcd for %s: %w", what, err)
}

// position is where an etcd is, as a read tells that sees all that was written before it.
type position struct {
	revision int64
	keys     int64 // only of count
	member   uint64
}

// position reads one key that nobody has.
func (s *Source) position(ctx context.Context) (position, error) {
	return s.read(ctx, clientv3.WithLimit(1), clientv3.WithKeysOnly())
}

// count also counts the keys, for which etcd takes time in proportion to them.
func (s *Source) count(ctx context.Context) (position, error) {
	return s.read(ctx, clientv3.WithFromKey(), clientv3.WithCountOnly())
}

func (s *Source) read(ctx context.Context, options ...clientv3.OpOption) (position, error) {
	ctx, cancel := patiently(ctx)
	defer cancel()
	r, err := s.admin.Get(ctx, "\x00", options...)
	if err != nil {
		return position{}, unanswered(ctx, "its revision", err)
	}
	return position{revision: r.Header.Revision, keys: r.Count, member: r.Header.MemberId}, s.sameCluster(r.Header)
}

// compacted is the revision that was compacted last, 0 if none was. A watch from the beginning is refused with it.
func (s *Source) compacted(ctx context.Context) (int64, error) {
	const what = "its compacted revision"
	ctx, cancel := patiently(ctx)
	defer cancel()
	_, err := s.admin.Get(ctx, "\x00", clientv3.WithLimit(1), clientv3.WithRev(1))
	if !errors.Is(err, rpctypes.ErrCompacted) {
		return 0, unanswered(ctx, what, err)
	}
	for r := range s.admin.Watch(ctx, "\x00", clientv3.WithRev(1)) {
		if r.CompactRevision != 0 {
			return r.CompactRevision, nil
		}
		if err := r.Err(); err != nil {
			return 0, unanswered(ctx, what, err)
		}
	}
	return 0, unanswered(ctx, what, errors.New("the watch that tells it ended"))
}

// leases are all leases with their times, as the member at knows them.
func (s *Source) leases(ctx context.Context, at position) ([]etcdfile.Lease, error) {
	listed, err := s.admin.Leases(ctx)
	if err != nil {
		return nil, unanswered(ctx, "its leases", err)
	}
	if listed.ResponseHeader.MemberId != at.member {
		return nil, fmt.Errorf("%w: the leases are told by another member", errUnsettled)
	}
	leases := make([]etcdfile.Lease, len(listed.Leases))
	questions, ctx := errgroup.WithContext(ctx)
	questions.SetLimit(leaseQuestions)
	for i, l := range listed.Leases {
		questions.Go(func() error {
			r, err := s.admin.TimeToLive(ctx, l.ID)
			switch {
			case err != nil:
				return fmt.Errorf("lease %x: %w", int64(l.ID), err)
			case r.TTL < 0 || r.GrantedTTL == 0:
				return fmt.Errorf("%w: lease %x is about to end", errUnsettled, int64(l.ID))
			}
			// Parts of a second are cut off; a lease must not end early. 0 would stand for all of it.
			leases[i] = etcdfile.Lease{ID: int64(l.ID), TTL: r.GrantedTTL, Remaining: min(r.TTL+1, r.GrantedTTL)}
			return nil
		})
	}
	return leases, questions.Wait()
}

// authState is what tells whether users and roles have changed.
type authState struct {
	enabled  bool
	revision uint64
}

func (s *Source) auth(ctx context.Context) (authState, error) {
	ctx, cancel := patiently(ctx)
	defer cancel()
	r, err := s.admin.AuthStatus(ctx)
	if err != nil {
		return authState{}, unanswered(ctx, "its users", err)
	}
	return authState{r.Enabled, r.AuthRevision}, nil
}

// snapshot downloads the whole database, and checks its checksum.
func (s *Source) snapshot(ctx context.Context, path string, progress func(done, total int64)) error {
	_, err := client.SaveSnapshot(ctx, s.admin, path, snapshot.FormatEtcd, progress)
	return err
}
