package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

const (
	// lookInterval is between two looks at how far behind the copy is; reportInterval between two lines about it.
	lookInterval   = time.Second
	reportInterval = 10 * time.Second
	// syncRevisions is how many revisions are applied between two syncs of the copy, which keep the last one short.
	syncRevisions = 50_000
	// readyBehind is how far the copy may be behind for the step: what is left is followed while calls are held.
	readyBehind = 1000
	// followed is how many revisions wait for the copy at most.
	followed = 64
)

// migration is one call of Run, up to the step. Its methods are for one goroutine but for status and ask.
type migration struct {
	config Config
	source *Source
	logger *slog.Logger
	copy   *raftstore.LiveCopy
	front  *front

	revisions chan revision
	requests  chan cutOver
	synced    int64 // the revision up to which the copy was synced
	reported  time.Time

	mu  sync.Mutex
	now Status
}

// cutOver is a request for the step.
type cutOver struct{ answer chan<- cutOverAnswer }

type cutOverAnswer struct {
	moved Moved
	err   error
}

func (m *migration) run(ctx context.Context) (err error) {
	plan, err := m.source.Plan(ctx, m.config.Master)
	if err != nil {
		return err
	}
	if err := plan.Refusal(); err != nil {
		return err
	}
	for _, warning := range plan.Warnings {
		m.logger.Warn(warning)
	}
	if m.copy, err = raftstore.NewLiveCopy(m.config.Master.DataDir, m.logger); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.copy.Close()) }()
	if m.front, err = newFront(m.config.Master, m.source); err != nil {
		return err
	}
	defer m.front.close()
	m.requests = make(chan cutOver)
	control, err := serveControl(m)
	if err != nil {
		return err
	}
	defer control.close()
	m.logger.Info("clients are served: their calls go on to the old etcd", "client", m.config.Master.ClientURLs)
	if err := m.begin(ctx); err != nil {
		return err
	}
	return m.follow(ctx)
}

// begin makes the copy of a snapshot.
func (m *migration) begin(ctx context.Context) error {
	progress := func(phase Phase) func(done, total int64) {
		return func(done, total int64) { m.report(Status{Phase: phase, Done: done, Total: total}) }
	}
	if err := m.source.snapshot(ctx, m.copy.SnapshotFile(), progress(Downloading)); err != nil {
		return fmt.Errorf("the snapshot of the old etcd: %w", err)
	}
	if err := m.copy.Import(ctx, progress(Importing)); err != nil {
		return err
	}
	m.logger.Info("the snapshot is imported: what follows is copied", "revision", m.copy.Store().Revision(), "keys", m.copy.Store().Keys())
	return nil
}

// follow applies what follows until the step is taken, and then is the member.
func (m *migration) follow(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	broken := make(chan error, 1)
	m.revisions = make(chan revision, followed)
	var watch sync.WaitGroup
	watch.Go(func() {
		broken <- m.source.follow(watching, m.copy.Store().Revision()+1, false, m.logger, func(r revision) error {
			select {
			case m.revisions <- r:
				return nil
			case <-watching.Done():
				return context.Cause(watching)
			}
		})
	})
	moved, err := m.untilCutOver(ctx, broken)
	stop()
	watch.Wait()
	if err != nil {
		return err
	}
	return m.member(ctx, moved)
}

// untilCutOver follows until a step is taken.
func (m *migration) untilCutOver(ctx context.Context, broken <-chan error) (*step, error) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-broken:
			return nil, err
		case r := <-m.revisions:
			if err := m.apply(r); err != nil {
				return nil, err
			}
		case <-tick.C:
			if ready := m.look(ctx); ready && m.config.CutOver {
				s, err := m.cutOver(ctx)
				if s != nil || isFinal(err) {
					return s, err
				}
				m.logger.Warn("the step was not taken; it is tried again", "error", err)
			}
		case request := <-m.requests:
			s, err := m.cutOver(ctx)
			if s != nil {
				s.asked = request.answer
				return s, nil
			}
			request.answer <- cutOverAnswer{err: err}
			if isFinal(err) {
				return nil, err
			}
		}
	}
}

func (m *migration) apply(r revision) error {
	store := m.copy.Store()
	if err := store.Apply(r.number, r.records()); err != nil {
		return fmt.Errorf("copy revision %d: %w", r.number, err)
	}
	if r.number-m.synced < syncRevisions {
		return nil
	}
	m.synced = r.number
	return store.Sync()
}

// look compares the copy with the etcd.
func (m *migration) look(ctx context.Context) (ready bool) {
	at, err := m.source.position(ctx)
	if err != nil {
		m.logger.Warn("the old etcd does not answer", "error", err)
		m.report(Status{Phase: Following, Revision: m.copy.Store().Revision(), Behind: m.status().Behind, Keys: m.copy.Store().Keys(), Error: err.Error()})
		return false
	}
	behind := at.revision - m.copy.Store().Revision()
	ready = behind <= readyBehind
	m.report(Status{Phase: Following, Revision: m.copy.Store().Revision(), Behind: behind, Keys: m.copy.Store().Keys(), Ready: ready})
	return ready
}

// report keeps a status for who asks, and logs it at times.
func (m *migration) report(s Status) {
	m.mu.Lock()
	before := m.now
	m.now = s
	m.mu.Unlock()
	if now := time.Now(); before.Phase != s.Phase || before.Ready != s.Ready || now.Sub(m.reported) >= reportInterval {
		m.reported = now
		m.logger.Info("migrating: "+string(s.Phase), "bytes", s.Done, "of", s.Total, "revision", s.Revision, "behind", s.Behind, "ready", s.Ready)
	}
}

// status is the last one reported. Any goroutine may call it.
func (m *migration) status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// ask asks for the step, and waits for its outcome. Any goroutine may call it.
func (m *migration) ask(ctx context.Context) (Moved, error) {
	switch s := m.status(); {
	case s.Error != "":
		return Moved{}, fmt.Errorf("the old etcd does not answer: ask again once it does: %s", s.Error)
	case !s.Ready:
		return Moved{}, fmt.Errorf("the copy is not level yet (%s, %d revisions behind): ask again later", s.Phase, s.Behind)
	}
	answer := make(chan cutOverAnswer, 1)
	select {
	case m.requests <- cutOver{answer}:
	case <-ctx.Done():
		return Moved{}, context.Cause(ctx)
	}
	select {
	case a := <-answer:
		return a.moved, a.err
	case <-ctx.Done():
		return Moved{}, context.Cause(ctx)
	}
}

// member runs the member of a step that was taken.
func (m *migration) member(ctx context.Context, s *step) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	config := m.config.Master
	told := config.Ready
	config.Ready = func(r master.Ready) {
		m.releaseTo(s, r)
		told(r)
		parts.Go(m.front.drain)
		parts.Go(func() { watchLate(ctx, m.config.From, s.moved.Revision+1, m.logger) })
	}
	m.front.leaveListeners()
	err := master.Run(ctx, config)
	if err == nil {
		return nil
	}
	if s.moved.Held == 0 { // Ready was not called
		err = fmt.Errorf("the member did not start on the data that was moved, and nobody has written there: give the same command again, or remove %s and go on with the old etcd: %w",
			config.DataDir, err)
		if s.asked != nil {
			s.asked <- cutOverAnswer{err: err}
		}
	}
	return err
}
