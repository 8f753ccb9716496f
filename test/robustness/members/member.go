package members

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/test/robustness/disk"
)

const (
	statusTimeout = 500 * time.Millisecond
	stopTimeout   = 15 * time.Second
	// callTimeout bounds one call about members, changeTimeout a change of them, under whatever faults there are.
	callTimeout   = 5 * time.Second
	changeTimeout = time.Minute
	// removalTimeout is how long a member that was removed has to learn of it and end, before it is killed.
	removalTimeout = 3 * time.Second
	// reconnect is the longest pause between two tries to connect to a member.
	reconnect = 200 * time.Millisecond
)

// Member is one member of a cluster. Its methods are for one goroutine at a time, but for Life, Status and Pid.
type Member struct {
	Name        string
	Number      int
	Client      string // address
	peer, proxy string // addresses: of the member itself, and of the proxy before it, which the others know
	cluster     *Cluster
	dir         string
	state       string // --initial-cluster-state

	// Disk is what the member's data is on; nil: a directory of this machine.
	Disk *disk.Disk

	life atomic.Int64

	mu      sync.Mutex
	running *process
	own     *clientv3.Client
}

// Life is a number that changes with each start and end of the member's process: what was seen under one number was one process.
func (m *Member) Life() int64 { return m.life.Load() }

// Log is the file with the output of the member's processes.
func (m *Member) Log() string { return m.dir + ".log" }

func (m *Member) dataDir() string { return filepath.Join(m.dir, "data", "store") }

func (m *Member) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		return 0
	}
	return m.running.command.Process.Pid
}

// Start starts the member with the data that it has.
func (m *Member) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil && !m.running.hasEnded() {
		return fmt.Errorf("%s runs already", m.Name)
	}
	m.life.Add(1)
	p, err := run(m.Log(), m.cluster.config.Binary, m.cluster.args(m), append([]string{clockVariable + "=" + m.clockFile()}, m.cluster.config.Environment...))
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.running = p
	return nil
}

// Ended tells whether the member's process has ended by itself.
func (m *Member) Ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running != nil && m.running.hasEnded()
}

func (m *Member) take() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.running
	m.running = nil
	m.life.Add(1)
	return p
}

// Kill ends the member with SIGKILL.
func (m *Member) Kill() {
	p := m.take()
	if p == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// Stop asks the member to end, and waits until it has.
func (m *Member) Stop() error {
	p := m.take()
	if p == nil {
		return nil
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		p.signal(syscall.SIGABRT) // its goroutines go into its log
		select {
		case <-p.ended:
		case <-time.After(stopTimeout):
			p.signal(syscall.SIGKILL)
			<-p.ended
		}
		return fmt.Errorf("%s did not end within %v of SIGTERM", m.Name, stopTimeout)
	}
}

// PowerLoss ends the member as the loss of its machine's power does: at once, and without what it has not synced. random chooses
// how much of the last write is there.
func (m *Member) PowerLoss(random func(n int) int) error {
	m.Disk.Cut()
	m.Kill()
	return m.Disk.Restore(random)
}

// Pause stops the process in its tracks, and Resume lets it go on.
func (m *Member) Pause() { m.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (m *Member) Resume() { m.signal(syscall.SIGCONT) }

func (m *Member) signal(s syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		m.running.signal(s)
	}
}

// Status asks the member how it is.
func (m *Member) Status(ctx context.Context) (*clientv3.StatusResponse, error) {
	client, err := m.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return client.Status(ctx, m.Client)
}

// Get reads a key at this member.
func (m *Member) Get(ctx context.Context, key string) (*clientv3.GetResponse, error) {
	client, err := m.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Get(ctx, key)
}

// Hash is the hash of what the member holds at a revision.
func (m *Member) Hash(ctx context.Context, revision int64) (*clientv3.HashKVResponse, error) {
	client, err := m.client()
	if err != nil {
		return nil, err
	}
	return client.HashKV(ctx, m.Client, revision)
}

// client is the harness's own client of this member alone.
func (m *Member) client() (*clientv3.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own == nil {
		client, err := m.cluster.Connect(m)
		if err != nil {
			return nil, err
		}
		m.own = client
	}
	return m.own, nil
}

// MoveLeader asks the member, who leads, to hand the lead to another one.
func (m *Member) MoveLeader(ctx context.Context, to *Member) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	status, err := to.Status(ctx)
	if err != nil {
		return err
	}
	client, err := m.client()
	if err != nil {
		return err
	}
	_, err = client.MoveLeader(ctx, status.Header.MemberId)
	return err
}

// Wipe forgets all that the member has, and the member itself: it is removed and added anew. It runs again after.
//
// It runs while it is removed: another member that was added of late may have no vote yet, so that this one's is needed.
func (m *Member) Wipe(ctx context.Context, admin *clientv3.Client, log func(string, ...any)) error {
	if err := m.change(ctx, admin, log, func(ctx context.Context, id uint64) (bool, error) {
		if id == 0 {
			return true, nil
		}
		_, err := admin.MemberRemove(ctx, id)
		return false, err
	}); err != nil {
		return fmt.Errorf("remove it: %w", err)
	}
	if !m.endsWithin(removalTimeout) {
		log("%s was removed, and has not ended by itself within %v", m.Name, removalTimeout)
	}
	m.Kill()
	if err := m.erase(); err != nil {
		return err
	}
	if err := m.change(ctx, admin, log, func(ctx context.Context, id uint64) (bool, error) {
		if id != 0 {
			return true, nil
		}
		_, err := admin.MemberAdd(ctx, []string{"http://" + m.proxy})
		return false, err
	}); err != nil {
		return fmt.Errorf("add it: %w", err)
	}
	m.state = "existing"
	return m.Start()
}

// erase removes the member's data so that no power cut brings it back: the member would begin with it, and be the one that was removed.
func (m *Member) erase() error {
	if err := os.RemoveAll(m.dataDir()); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(m.dataDir()))
}

// endsWithin waits for the member's process to end by itself.
func (m *Member) endsWithin(d time.Duration) bool {
	m.mu.Lock()
	p := m.running
	m.mu.Unlock()
	if p == nil {
		return true
	}
	select {
	case <-p.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// change calls do with the member's ID, 0 if it is none, until do says that all is done. What fails is tried again: the member's
// being there or not tells whether it had succeeded.
func (m *Member) change(ctx context.Context, admin *clientv3.Client, log func(string, ...any), do func(context.Context, uint64) (bool, error)) error {
	deadline := time.Now().Add(changeTimeout)
	for {
		done, err := m.changeOnce(ctx, admin, do)
		if done || time.Now().After(deadline) {
			return err
		}
		if err != nil {
			log("a change of members is tried again: %v", err)
			time.Sleep(reconnect)
		}
	}
}

func (m *Member) changeOnce(ctx context.Context, admin *clientv3.Client, do func(context.Context, uint64) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := admin.MemberList(ctx)
	if err != nil {
		return false, err
	}
	id := uint64(0)
	for _, other := range list.Members {
		// A machine that joins in the moment in which what it was added as is removed has a record of its own making.
		if len(other.PeerURLs) == 1 && strings.HasSuffix(other.PeerURLs[0], "://"+m.proxy) {
			id = other.ID
		}
	}
	return do(ctx, id)
}

// NewClient makes a client of some members' addresses.
func NewClient(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnect},
			MinConnectTimeout: time.Second,
		})},
	})
}
