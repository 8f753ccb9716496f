package wal

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

const childDir = "WAL_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever stores entries and deletes some at either end, and says what it has done ("stored", the
// last index and its term) and is about to undo ("deleting", from an index on).
func appendForever(dir string) error {
	l, err := Open(dir, Options{SegmentBytes: 32 << 10})
	if err != nil {
		return err
	}
	first, last, err := ends(l)
	if err != nil {
		return err
	}
	term := uint64(time.Now().UnixNano())
	for {
		if rand.IntN(10) == 0 && last > first+20 {
			from := last - rand.Uint64N(20)
			fmt.Println("deleting", from, 0)
			if err := l.DeleteRange(from, last); err != nil {
				return err
			}
			last, term = from-1, term+1
		}
		if last > first+2000 {
			if err := l.DeleteRange(first, last-1000); err != nil {
				return err
			}
			first = last - 999
		}
		logs := entries(last+1, last+1+rand.Uint64N(40), term)
		if err := l.StoreLogs(logs); err != nil {
			return err
		}
		last = logs[len(logs)-1].Index
		fmt.Println("stored", last, term)
	}
}

func ends(l *Log) (first, last uint64, err error) {
	first, err = l.FirstIndex()
	if err != nil {
		return 0, 0, err
	}
	last, err = l.LastIndex()
	return first, last, err
}

// TestKilledProcess kills a process that writes, again and again, and holds the log against what the
// process had said before.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	terms := map[uint64]uint64{} // of acknowledged entries
	acknowledged := uint64(0)
	for round := range 15 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		var stderr strings.Builder
		child.Stderr = &stderr
		stdout, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		// Kill it in the midst of something: after so many lines, of which the pipe may hold more.
		lines, kill := bufio.NewScanner(stdout), 1+rand.IntN(300)
		for n := 0; lines.Scan(); n++ {
			var what string
			var index, term uint64
			if _, err := fmt.Sscan(lines.Text(), &what, &index, &term); err != nil {
				break // the last line, in part
			}
			if what == "deleting" {
				acknowledged = index - 1
			} else {
				for ; acknowledged < index; acknowledged++ {
					terms[acknowledged+1] = term
				}
			}
			if n == kill {
				must(t, child.Process.Kill())
			}
		}
		_ = child.Wait() // killed
		if stderr.Len() > 0 {
			t.Fatalf("round %d: %s", round, stderr.String())
		}
		verifyKilled(t, dir, terms, acknowledged)
		l := mustOpen(t, dir, 32<<10)
		// What was stored and not said is stored now.
		_, last := bounds(t, l)
		for acknowledged = min(acknowledged, last); acknowledged < last; acknowledged++ {
			var have raft.Log
			must(t, l.GetLog(acknowledged+1, &have))
			terms[acknowledged+1] = have.Term
		}
		must(t, l.Close())
	}
	if acknowledged < 1000 {
		t.Errorf("only %d entries", acknowledged)
	}
}

func verifyKilled(t *testing.T, dir string, terms map[uint64]uint64, acknowledged uint64) {
	t.Helper()
	l := mustOpen(t, dir, 32<<10)
	defer func() { must(t, l.Close()) }()
	first, last := bounds(t, l)
	if last < acknowledged {
		t.Fatalf("the log ends with %d, %d was acknowledged", last, acknowledged)
	}
	var have raft.Log
	for index := first; index <= last; index++ {
		must(t, l.GetLog(index, &have))
		if !same(&have, entry(index, have.Term)) {
			t.Fatalf("entry %d is %+v", index, have)
		}
		if index <= acknowledged && have.Term != terms[index] {
			t.Fatalf("entry %d has term %d, acknowledged was %d", index, have.Term, terms[index])
		}
	}
}
