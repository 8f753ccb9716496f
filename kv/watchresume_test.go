package kv

import (
	"fmt"
	"runtime"
	"testing"
)

// replace closes the store and opens one in its place that has the same past and what the commands add to it, as a
// snapshot does.
func replace(t testing.TB, s *Store, commands ...Command) *Store {
	t.Helper()
	dir := s.options.Dir + "-next"
	if err := s.Checkpoint(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(Options{Dir: dir, FS: s.options.FS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.Close() })
	if len(commands) > 0 {
		apply(t, next, commands...)
	}
	return next
}

// Watches go on in the store that takes the place of theirs: none misses an event, gets one twice, or one that is too old.
func TestWatchesResumeInAnotherStore(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("b", "1")) // 2, 3
	behind := watch(t, s, WatchRequest{Key: []byte("a"), RangeEnd: []byte("c"), StartRevision: 1})
	unread := watch(t, s, WatchRequest{Key: []byte("a")})
	seen := watch(t, s, WatchRequest{Key: []byte("a"), PrevKV: true})
	future := watch(t, s, WatchRequest{Key: []byte("a"), RangeEnd: []byte("c"), StartRevision: 7})
	cancelled := watch(t, s, WatchRequest{ID: 5, Key: []byte("a")})
	apply(t, s, put("a", "2")) // 4
	expect(t, seen, "4 PUT a=2 (1); ")
	if err := cancelled.Cancel(5); err != nil {
		t.Fatal(err)
	}
	after := replace(t, s, put("a", "3"), put("b", "3"), put("a", "4"), put("b", "4")) // 5, 6, 7, 8
	resumed := func(ended *WatchStream) *WatchStream {
		if _, err := ended.Next(t.Context()); err != ErrClosed {
			t.Fatalf("the stream of a closed store: %v", err)
		}
		ws := after.ResumeWatchStream(ended)
		t.Cleanup(ws.Close)
		return ws
	}
	for _, c := range []struct {
		name  string
		ended *WatchStream
		want  []string
	}{
		{"behind", behind, []string{"2 PUT a=1; 3 PUT b=1; 4 PUT a=2; 5 PUT a=3; 6 PUT b=3; 7 PUT a=4; 8 PUT b=4; "}},
		{"unread", unread, []string{"4 PUT a=2; ", "5 PUT a=3; 7 PUT a=4; "}},
		{"seen", seen, []string{"5 PUT a=3 (2); 7 PUT a=4 (3); "}},
		{"future", future, []string{"7 PUT a=4; 8 PUT b=4; "}},
		{"cancelled", cancelled, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := resumed(c.ended)
			got, want := "", ""
			for _, w := range c.want {
				want += w
			}
			for len(got) < len(want) {
				got += next(t, ws)
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			expectNothing(t, ws)
			if revision, synced := ws.Progress(); !synced || revision != 8 {
				t.Errorf("progress %d, %v", revision, synced)
			}
		})
	}
}

// A stream that finds the next store closed as well stays as it was, for the one after that.
func TestResumeInClosedStore(t *testing.T) {
	s := open(t, Options{})
	ws := watch(t, s, WatchRequest{Key: []byte("a")})
	second := replace(t, s, put("a", "1"))
	third := replace(t, second, put("a", "2"))
	if again := second.ResumeWatchStream(ws); again.Err() != ErrClosed {
		t.Fatalf("resumed in a closed store: %v", again.Err())
	}
	resumed := third.ResumeWatchStream(ws)
	t.Cleanup(resumed.Close)
	expect(t, resumed, "2 PUT a=1; 3 PUT a=2; ")
}

// What the old store could not finish, as it was closed in between, is told by the new one.
func TestResumeKeepsWhatWasTaken(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"))
	ws := watch(t, s, WatchRequest{Key: []byte("a"), PrevKV: true})
	apply(t, s, put("a", "2"))
	w, err := ws.turn()
	for err == nil && w == nil { // the dispatcher is on its way
		<-ws.wake
		w, err = ws.turn()
	}
	if err != nil {
		t.Fatal(err)
	}
	ws.leave(turnResult{watcher: w, revision: 3}, 0) // what a failure to read what was replaced does
	third := replace(t, s, put("a", "3"))
	resumed := third.ResumeWatchStream(ws)
	t.Cleanup(resumed.Close)
	if _, synced := resumed.Progress(); synced {
		t.Error("progress before what was taken is returned")
	}
	got := next(t, resumed) + next(t, resumed)
	if want := "3 PUT a=2 (1); 4 PUT a=3 (2); "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if id, err := resumed.Watch(WatchRequest{Key: []byte("b")}); err != nil || id != 1 {
		t.Errorf("the next id is %d, %v", id, err)
	}
}

// Compacted history ends the watch that still needs it, and only that.
func TestResumeAfterCompaction(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("b", "1"))
	quiet := watch(t, s, WatchRequest{Key: []byte("quiet")})
	told := func(revision int64) {
		for at, synced := quiet.Progress(); !synced || at != revision; at, synced = quiet.Progress() {
			runtime.Gosched()
		}
	}
	told(3)
	behind := watch(t, s, WatchRequest{Key: []byte("a"), StartRevision: 2})
	commands := []Command{}
	for i := range 10 {
		commands = append(commands, put("b", fmt.Sprint(i)))
	}
	apply(t, s, commands...)
	told(13)
	after := replace(t, s, compact(13), put("quiet", "1"))
	for _, c := range []struct {
		ended *WatchStream
		want  string
	}{{behind, "compacted 13"}, {quiet, "14 PUT quiet=1; "}} {
		ws := after.ResumeWatchStream(c.ended)
		t.Cleanup(ws.Close)
		expect(t, ws, c.want)
	}
}
