package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/raftlog/logtest"
)

// writeBehindTest is a log over a disk that can hang, of a member whose role the test sets.
type writeBehindTest struct {
	*WriteBehind
	disk   *logtest.Hanging
	leads  atomic.Bool
	alone  atomic.Bool
	failed chan error
	broken chan error
}

func newWriteBehindTest(t *testing.T) *writeBehindTest {
	w := &writeBehindTest{disk: logtest.NewHanging(raft.NewInmemStore()), failed: make(chan error, 16), broken: make(chan error, 16)}
	w.WriteBehind = newWriteBehind(w.disk)
	w.leads.Store(true)
	w.Serve(Role{
		Leads:       w.leads.Load,
		NeedsOthers: func() bool { return !w.alone.Load() },
		Failed:      func(err error) { w.failed <- err },
		Broken:      func(err error) { w.broken <- err },
	})
	t.Cleanup(func() {
		w.disk.Set(false, nil)
		_ = w.Close()
	})
	return w
}

func entries(first, last uint64) (logs []*raft.Log) {
	for index := first; index <= last; index++ {
		logs = append(logs, &raft.Log{Index: index, Term: 1, Data: []byte(fmt.Sprint(index))})
	}
	return logs
}

func (w *writeBehindTest) mustStore(t *testing.T, logs []*raft.Log) {
	t.Helper()
	if err := w.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

// isDurable asks without waiting.
func (w *writeBehindTest) isDurable(index uint64) bool {
	last, err := w.disk.LogStore.LastIndex()
	return err == nil && last >= index
}

func TestLeaderReadsWhatItHasNotWritten(t *testing.T) {
	w := newWriteBehindTest(t)
	w.disk.Set(true, nil)
	w.mustStore(t, entries(1, 3))
	w.mustStore(t, entries(4, 5))
	var log raft.Log
	if err := w.GetLog(4, &log); err != nil || string(log.Data) != "4" {
		t.Fatalf("entry 4: %q, %v", log.Data, err)
	}
	if err := w.GetLog(6, &log); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("entry 6: %v", err)
	}
	first, _ := w.FirstIndex()
	last, _ := w.LastIndex()
	if first != 1 || last != 5 || w.isDurable(1) {
		t.Fatalf("entries %d to %d, the first durable: %v", first, last, w.isDurable(1))
	}
	w.disk.Set(false, nil)
	if !w.AwaitDurable(5, func() bool { return false }) || !w.isDurable(5) {
		t.Fatal("entry 5 is not durable")
	}
}

func TestFollowerAcknowledgesOnlyWhatIsDurable(t *testing.T) {
	w := newWriteBehindTest(t)
	w.disk.Set(true, nil)
	w.mustStore(t, entries(1, 3))
	w.leads.Store(false)
	read := make(chan bool)
	go func() {
		var log raft.Log
		read <- w.GetLog(2, &log) == nil && w.isDurable(2)
	}()
	w.disk.Set(false, nil)
	if !<-read {
		t.Fatal("a follower could read an entry that was not durable")
	}
	w.disk.Set(true, nil)
	stored := make(chan bool)
	go func() { stored <- w.StoreLogs(entries(4, 4)) == nil && w.isDurable(4) }()
	w.disk.Set(false, nil)
	if !<-stored {
		t.Fatal("a follower's entry was not durable when StoreLogs had returned")
	}
}

func TestLeaderWaitsForTheDiskWhereItAloneDecides(t *testing.T) {
	w := newWriteBehindTest(t)
	configuration := []*raft.Log{{Index: 2, Term: 1, Type: raft.LogConfiguration}}
	w.mustStore(t, entries(1, 1))
	w.mustStore(t, configuration)
	if !w.isDurable(2) {
		t.Fatal("a configuration was not durable when StoreLogs had returned")
	}
	w.alone.Store(true)
	w.mustStore(t, entries(3, 3))
	if !w.isDurable(3) {
		t.Fatal("the only voter's entry was not durable when StoreLogs had returned")
	}
}

func TestRefusedEntriesAreTriedAgain(t *testing.T) {
	w := newWriteBehindTest(t)
	full := errors.New("no space left on device")
	w.disk.Set(false, full)
	w.mustStore(t, entries(1, 2))
	if err := <-w.failed; !errors.Is(err, full) {
		t.Fatal(err)
	}
	if pending := w.Entries.Pending(); pending != 0 {
		t.Errorf("%d entries wait for a disk that has refused them", pending)
	}
	if err := w.StoreLogs(entries(3, 3)); !errors.Is(err, full) {
		t.Fatalf("on a full disk: %v", err)
	}
	var log raft.Log
	if err := w.GetLog(2, &log); err != nil {
		t.Fatalf("the leader's own entry 2: %v", err)
	}
	w.disk.Set(false, nil)
	w.mustStore(t, entries(3, 3))
	if !w.isDurable(3) {
		t.Fatal("not durable after the disk had room again")
	}
	if err := w.disk.LogStore.GetLog(1, &log); err != nil {
		t.Fatalf("entry 1 was lost: %v", err)
	}
	if w.waiting != 0 {
		t.Errorf("%d entries wait for the disk, and none is queued", w.waiting)
	}
}

func TestRefusedEntriesCanBeForgotten(t *testing.T) {
	w := newWriteBehindTest(t)
	w.mustStore(t, entries(1, 2))
	w.AwaitDurable(2, func() bool { return false })
	w.disk.Set(false, errors.New("no space left on device"))
	w.mustStore(t, entries(3, 6))
	<-w.failed
	w.leads.Store(false)
	if err := w.DeleteRange(2, 6); err != nil {
		t.Fatal(err)
	}
	if last, _ := w.LastIndex(); last != 1 {
		t.Fatalf("ends at %d", last)
	}
	w.disk.Set(false, nil)
	w.mustStore(t, entries(2, 3))
	if !w.isDurable(3) {
		t.Fatal("not durable")
	}
}

// TestWriteBehindAgreesWithItsStore stores, reads, cuts and changes roles at random beside a plain store.
func TestWriteBehindAgreesWithItsStore(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	w := newWriteBehindTest(t)
	want := raft.NewInmemStore()
	next, first := uint64(1), uint64(1)
	for range 3000 {
		switch random.IntN(8) {
		case 0:
			if cut := first + uint64(random.IntN(20)); cut+1 < next {
				if !w.AwaitDurable(cut, func() bool { return false }) || w.DeleteRange(first, cut) != nil || want.DeleteRange(first, cut) != nil {
					t.Fatal("cut the old end")
				}
				first = cut + 1
			}
		case 1:
			if back := next - uint64(random.IntN(4)); back > first && back < next {
				if w.DeleteRange(back, next-1) != nil || want.DeleteRange(back, next-1) != nil {
					t.Fatal("cut the new end")
				}
				next = back
			}
		case 2:
			w.leads.Store(random.IntN(4) > 0)
		default:
			logs := entries(next, next+uint64(random.IntN(4)))
			next += uint64(len(logs))
			w.mustStore(t, logs)
			_ = want.StoreLogs(logs)
		}
		for index := next - min(next-first, 4); index < next+2; index++ {
			var have, expected raft.Log
			errHave, errWant := w.GetLog(index, &have), want.GetLog(index, &expected)
			if !errors.Is(errHave, errWant) || string(have.Data) != string(expected.Data) {
				t.Fatalf("entry %d of %d to %d: %q %v, want %q %v", index, first, next, have.Data, errHave, expected.Data, errWant)
			}
		}
	}
}

// TestEndThatWasCutOffComesBack: another leader's entries are to take the place of the log's end, and the disk refuses them. Raft goes on
// with the log that it had.
func TestEndThatWasCutOffComesBack(t *testing.T) {
	w := newWriteBehindTest(t)
	w.leads.Store(false)
	w.mustStore(t, entries(1, 8))
	others := entries(5, 6)
	for _, entry := range others {
		entry.Term = 2
	}
	full := errors.New("no space left on device")
	replace := func() error {
		if err := w.DeleteRange(5, 8); err != nil {
			t.Fatal(err)
		}
		return w.StoreLogs(others)
	}
	w.disk.Set(false, full)
	if err := replace(); !errors.Is(err, full) {
		t.Fatalf("replaced on a full disk: %v", err)
	}
	if last, err := w.LastIndex(); last != 8 || err != nil || w.isDurable(5) || w.Durable(5) {
		t.Fatalf("the log ends at %d, %v; entry 5 durable: %v", last, err, w.Durable(5))
	}
	var log raft.Log
	if err := w.GetLog(6, &log); !errors.Is(err, full) {
		t.Fatalf("a follower has read entry 6, which its disk does not have: %v", err)
	}
	if err := w.Settle(); !errors.Is(err, full) || w.Refusals() != 3 {
		t.Fatalf("settled: %v, after %d refusals", err, w.Refusals())
	}
	w.disk.Set(false, nil)
	if err := w.Settle(); err != nil || !w.isDurable(8) {
		t.Fatalf("settled: %v, entry 8 durable: %v", err, w.isDurable(8))
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	if err := w.GetLog(6, &log); err != nil || log.Term != 2 {
		t.Fatalf("entry 6 is of term %d, %v", log.Term, err)
	}
	if last, _ := w.LastIndex(); last != 6 {
		t.Fatalf("the log ends at %d", last)
	}
}

// TestEndThatIsNotKeptBreaksTheLog: Raft took the log for longer than it was, until a restart.
func TestEndThatIsNotKeptBreaksTheLog(t *testing.T) {
	configuration := []*raft.Log{{Index: 5, Term: 1, Type: raft.LogConfiguration}}
	var large []*raft.Log
	for index := range uint64(5) {
		large = append(large, &raft.Log{Index: 5 + index, Term: 1, Data: make([]byte, maxCut/4)})
	}
	for what, test := range map[string]struct {
		end  []*raft.Log
		from uint64
	}{
		"a configuration": {configuration, 5}, // Raft has gone back to the one before it
		"a large one":     {large, 5},
		"the whole log":   {nil, 1},
	} {
		w := newWriteBehindTest(t)
		w.leads.Store(false)
		w.mustStore(t, append(entries(1, 4), test.end...))
		last, _ := w.LastIndex()
		if err := w.DeleteRange(test.from, last); err != nil {
			t.Fatal(err)
		}
		full := errors.New("no space left on device")
		w.disk.Set(false, full)
		if err := w.StoreLogs(entries(test.from, test.from)); !errors.Is(err, full) {
			t.Fatal(err)
		}
		if last, err := w.LastIndex(); last != test.from-1 || err != nil {
			t.Errorf("%s: the log ends at %d, %v", what, last, err)
		}
		select {
		case err := <-w.broken:
			if !errors.Is(err, full) {
				t.Errorf("%s: broken by %v", what, err)
			}
		default:
			t.Errorf("%s: nobody was told that the log is shorter than Raft takes it for", what)
		}
	}
}

// TestLogThatWasEmptiedStaysEmpty: what a state that was received takes the place of never comes back.
func TestLogThatWasEmptiedStaysEmpty(t *testing.T) {
	w := newWriteBehindTest(t)
	w.leads.Store(false)
	w.mustStore(t, entries(1, 8))
	if err := w.DeleteRange(1, 8); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	w.disk.Set(false, full)
	if err := w.StoreLogs(entries(101, 102)); !errors.Is(err, full) {
		t.Fatal(err)
	}
	if last, err := w.LastIndex(); last != 0 || err != nil || len(w.broken) > 0 {
		t.Fatalf("the log ends at %d, %v; told of a broken one: %d", last, err, len(w.broken))
	}
}

// TestNobodyWaitsWhileAFollowersDiskHangs: who asks what of the log is durable, or wants nothing more of it.
func TestNobodyWaitsWhileAFollowersDiskHangs(t *testing.T) {
	w := newWriteBehindTest(t)
	w.leads.Store(false)
	w.mustStore(t, entries(1, 2))
	w.disk.Set(true, nil)
	stored := make(chan error, 1)
	go func() { stored <- w.StoreLogs(entries(3, 3)) }()
	for !w.disk.Asked() {
		runtime.Gosched()
	}
	w.Wake()
	var log raft.Log
	if last, err := w.LastIndex(); last != 2 || err != nil || !w.Durable(2) || w.GetLog(2, &log) != nil {
		t.Errorf("the log ends at %d, %v", last, err)
	}
	w.disk.Set(false, nil)
	if err := <-stored; err != nil || !w.isDurable(3) {
		t.Errorf("the entry was not written: %v", err)
	}
}

// keepingStore deletes nothing.
type keepingStore struct {
	raft.LogStore
	refusal error
}

func (s keepingStore) DeleteRange(uint64, uint64) error { return s.refusal }

// TestRefusedCutIsARefusal: a leader takes it for a disk that is full, not for a log that lacks something.
func TestRefusedCutIsARefusal(t *testing.T) {
	full := errors.New("no space left on device")
	w := newWriteBehind(keepingStore{raft.NewInmemStore(), full})
	defer w.Close()
	if err := w.StoreLogs(entries(1, 4)); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteRange(3, 4); !errors.Is(err, full) || w.Refusals() != 1 {
		t.Fatalf("cut: %v, after %d refusals", err, w.Refusals())
	}
}
