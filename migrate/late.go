package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// toldKeys is how many keys of one revision are named.
const toldKeys = 20

// watchLate tells, until ctx ends, of what is written to an etcd that was moved: those writes are not in the new cluster. from is
// the revision after the last one that was taken over.
func watchLate(ctx context.Context, config clientv3.Config, from int64, logger *slog.Logger) {
	source, err := dialLate(ctx, config, logger)
	if err != nil {
		return // told to end
	}
	defer source.Close()
	late := lateWrites{source: source, logger: logger}
	err = source.follow(ctx, from, true, logger, func(r revision) error { return late.tell(ctx, r) })
	if ctx.Err() == nil {
		logger.Warn("the old etcd is not watched for late writes any more", "error", err)
	}
}

// dialLate tries until it can log in, or ctx ends.
func dialLate(ctx context.Context, config clientv3.Config, logger *slog.Logger) (*Source, error) {
	for pause := watchPause; ; pause = min(2*pause, maxWatchPause) {
		source, err := Dial(config)
		if err == nil {
			return source, nil
		}
		if pause == watchPause {
			logger.Warn("the old etcd can't be watched for late writes; it is tried again", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lateWrites are those to an etcd that was moved.
type lateWrites struct {
	source *Source
	logger *slog.Logger
}

// tell tells of one revision. That leases end whose clients keep them alive in the new cluster is no write of anybody's.
func (l *lateWrites) tell(ctx context.Context, r revision) error {
	if lease := leaseOf(r); lease != 0 {
		left, err := l.source.admin.TimeToLive(ctx, clientv3.LeaseID(lease))
		if err != nil {
			return err
		}
		if left.TTL <= 0 {
			l.logger.Info("a lease has ended at the old etcd, which is no concern of the new cluster", "lease", fmt.Sprintf("%x", lease), "revision", r.number, "keys", len(r.events))
			return nil
		}
	}
	keys := make([]string, 0, min(len(r.events), toldKeys))
	for _, e := range r.events[:min(len(r.events), toldKeys)] {
		keys = append(keys, fmt.Sprintf("%s %q", e.Type, e.Kv.Key))
	}
	l.logger.Warn("LATE WRITE: the old etcd was written to after the move, and the new cluster does not have it", "revision", r.number,
		"writes", len(r.events), "keys", keys)
	return nil
}

// leaseOf is the lease whose keys a revision deletes, 0 if it does anything else.
func leaseOf(r revision) int64 {
	lease := int64(0)
	for i, e := range r.events {
		if e.Type != mvccpb.Event_DELETE || e.PrevKv == nil || e.PrevKv.Lease == 0 || (i > 0 && e.PrevKv.Lease != lease) {
			return 0
		}
		lease = e.PrevKv.Lease
	}
	return lease
}
