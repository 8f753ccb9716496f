package readindex

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/supervise"
)

const pointTimeout = 5 * time.Second

// pointMember is a member whose Points are tested. Each question waits for one index.
type pointMember struct {
	*Points
	indexes chan uint64
	reached chan uint64
	groups  chan int      // how many keys were looked up together
	behind  chan struct{} // if not nil, the state reaches nothing until it is closed
	end     context.CancelFunc
}

// testPoints runs a test on a clock of its own.
func testPoints(t *testing.T, test func(t *testing.T, m *pointMember)) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		m := &pointMember{indexes: make(chan uint64), reached: make(chan uint64, 10), groups: make(chan int, 10), end: end}
		m.Points = NewPoints(PointsOptions{
			Life: life, Logger: slog.New(slog.DiscardHandler), Timeout: pointTimeout,
			Ask: func(ctx context.Context) (uint64, error) {
				select {
				case index := <-m.indexes:
					return index, nil
				case <-ctx.Done():
					return 0, context.Cause(ctx)
				}
			},
			Reach:  m.reach,
			LookUp: m.lookUp,
		})
		var running sync.WaitGroup
		running.Go(m.Run)
		test(t, m)
		end()
		running.Wait()
	})
}

func (m *pointMember) reach(ctx context.Context, index uint64) error {
	if m.behind != nil {
		select {
		case <-m.behind:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	m.reached <- index
	return nil
}

// lookUp answers with a count that is the length of the key. Two keys are special.
func (m *pointMember) lookUp(points []*kv.Point) error {
	m.groups <- len(points)
	for _, p := range points {
		switch string(p.Request.Key) {
		case "panic":
			panic("of a key")
		case "fail":
			return errors.New("the disk failed")
		}
		p.Response, p.Err = &pb.RangeResponse{Count: int64(len(p.Request.Key))}, nil
	}
	return nil
}

// read begins to read a key.
func (m *pointMember) read(ctx context.Context, key string) <-chan error {
	read := make(chan error, 1)
	go func() {
		r, err := m.Read(ctx, &pb.RangeRequest{Key: []byte(key)})
		if err == nil && r.Count != int64(len(key)) {
			err = fmt.Errorf("%s: got %v", key, r)
		}
		read <- err
	}()
	synctest.Wait()
	return read
}

// waits fails unless a read goes on.
func waits(t *testing.T, reads ...<-chan error) {
	t.Helper()
	synctest.Wait()
	for _, read := range reads {
		select {
		case err := <-read:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
}

// TestReadersShareTheNextQuestion: who comes while a question is asked gets the answer to a later one.
func TestReadersShareTheNextQuestion(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		later := []<-chan error{m.read(t.Context(), "bb"), m.read(t.Context(), "ccc")}
		m.indexes <- 7
		if err := <-first; err != nil {
			t.Error(err)
		}
		waits(t, later...)
		m.indexes <- 8
		for _, read := range later {
			if err := <-read; err != nil {
				t.Error(err)
			}
		}
		if a, b := <-m.reached, <-m.reached; a != 7 || b != 8 {
			t.Errorf("reached %d and %d", a, b)
		}
		if a, b := <-m.groups, <-m.groups; a != 1 || b != 2 {
			t.Errorf("looked up %d and %d", a, b)
		}
	})
}

func TestManyReadersAreAnsweredInGroups(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		reads := []<-chan error{first}
		for range 2*groupSize + 1 {
			reads = append(reads, m.read(t.Context(), "b"))
		}
		m.indexes <- 1
		m.indexes <- 2
		for _, read := range reads {
			if err := <-read; err != nil {
				t.Error(err)
			}
		}
		sizes := []int{<-m.groups, <-m.groups, <-m.groups, <-m.groups}
		slices.Sort(sizes)
		if !slices.Equal(sizes, []int{1, 1, groupSize, groupSize}) {
			t.Errorf("groups of %d", sizes)
		}
	})
}

// TestAReadersOwnTimeEndsIt: without a leader each reader fails when it has waited for its timeout, and none before.
func TestAReadersOwnTimeEndsIt(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		begun := time.Now()
		var reads []<-chan error
		for range 4 { // the first is asked for, the others gather
			reads = append(reads, m.read(t.Context(), "a"))
			time.Sleep(time.Second)
		}
		for i, read := range reads {
			if err := <-read; !errors.Is(err, failure.ErrNoLeader) {
				t.Error(err)
			}
			if waited, want := time.Since(begun), pointTimeout+time.Duration(i)*time.Second; waited != want {
				t.Errorf("reader %d ended after %v, want %v", i, waited, want)
			}
		}
	})
}

// TestAReaderThatOutlivesItsBatchIsAnswered: the time of the batch's first is up, and then there is a leader.
func TestAReaderThatOutlivesItsBatchIsAnswered(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		second := m.read(t.Context(), "b")
		time.Sleep(pointTimeout / 2)
		third := m.read(t.Context(), "c") // in the second's batch
		if err := errors.Join(<-first, <-second); err == nil {
			t.Error("two were answered")
		}
		waits(t, third)
		m.indexes <- 1
		if err := <-third; err != nil {
			t.Error(err)
		}
	})
}

// TestAStateThatIsBehindHoldsUpItsReadersAlone: a member was cut off when it had an answer, and not yet what is at the index. Who reads
// then learns in time that nobody leads; who has the answer waits for the state.
func TestAStateThatIsBehindHoldsUpItsReadersAlone(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		m.behind = make(chan struct{})
		first := m.read(t.Context(), "a")
		m.indexes <- 7
		begun, second := time.Now(), m.read(t.Context(), "b")
		select {
		case err := <-second:
			if waited := time.Since(begun); !errors.Is(err, failure.ErrNoLeader) || waited != pointTimeout {
				t.Errorf("it ended after %v: %v", waited, err)
			}
		case <-time.After(time.Hour):
			t.Error("a reader waits for the state that another one has to see")
		}
		waits(t, first)
		close(m.behind)
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

// TestReadersThatLeaveTakeNoRoom: only those that stay are looked up.
func TestReadersThatLeaveTakeNoRoom(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		reason := errors.New("the client has gone")
		var cancels []context.CancelCauseFunc
		var reads []<-chan error
		for range 3 {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancels, reads = append(cancels, cancel), append(reads, m.read(ctx, "b"))
		}
		stays := m.read(t.Context(), "c")
		for _, i := range []int{0, 2, 1} {
			cancels[i](reason)
			if err := <-reads[i]; !errors.Is(err, reason) {
				t.Error(err)
			}
		}
		m.indexes <- 1
		m.indexes <- 2
		if err := errors.Join(<-first, <-stays); err != nil {
			t.Error(err)
		}
		if a, b := <-m.groups, <-m.groups; a != 1 || b != 1 {
			t.Errorf("looked up %d and %d", a, b)
		}
	})
}

// TestAllReadersOfABatchMayLeave, and the next are answered.
func TestAllReadersOfABatchMayLeave(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		gone := m.read(ctx, "b")
		cancel()
		<-gone
		m.indexes <- 1
		m.indexes <- 2
		last := m.read(t.Context(), "c")
		m.indexes <- 3
		if err := errors.Join(<-first, <-last); err != nil {
			t.Error(err)
		}
	})
}

func TestReadersOfAMemberThatEnds(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		reads := []<-chan error{m.read(t.Context(), "a"), m.read(t.Context(), "b")}
		m.end()
		reads = append(reads, m.read(t.Context(), "c"))
		for _, read := range reads {
			if err := <-read; !errors.Is(err, failure.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// TestAPanicIsItsReadersAlone: the others of its group are answered.
func TestAPanicIsItsReadersAlone(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		reads := []<-chan error{m.read(t.Context(), "a")}
		for _, key := range []string{"b", "panic", "c"} {
			reads = append(reads, m.read(t.Context(), key))
		}
		m.indexes <- 1
		m.indexes <- 2
		for i, read := range reads {
			err := <-read
			var fault *supervise.PanicError
			if errors.As(err, &fault) != (i == 2) || (err != nil) != (i == 2) {
				t.Errorf("reader %d: %v", i, err)
			}
		}
	})
}

// TestAFailureIsOfAllThatWereLookedUp, and of no others.
func TestAFailureIsOfAllThatWereLookedUp(t *testing.T) {
	testPoints(t, func(t *testing.T, m *pointMember) {
		first := m.read(t.Context(), "a")
		reads := []<-chan error{m.read(t.Context(), "b"), m.read(t.Context(), "fail")}
		m.indexes <- 1
		m.indexes <- 2
		if err := <-first; err != nil {
			t.Error(err)
		}
		for _, read := range reads {
			if err := <-read; err == nil || errors.Is(err, failure.ErrClosed) {
				t.Error(err)
			}
		}
	})
}
