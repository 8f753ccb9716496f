package disk

import "testing"

func TestStallIsWorkThatDoesNotEnd(t *testing.T) {
	var work Work
	watch := NewStallWatch(WorkLog, &work, StallLooks)
	looks := func(n int, want bool) {
		t.Helper()
		for i := range n {
			if got := watch.Look(); got != want {
				t.Fatalf("look %d: stalls %v, want %v", i, got, want)
			}
		}
	}
	looks(2*StallLooks, false)
	work.Begin(2)
	looks(StallLooks, false) // not for an election timeout yet
	looks(3, true)
	work.End(1)
	looks(3, true)
	work.End(1)
	looks(1, false)
	for range 5 * StallLooks { // always busy, and never for long
		work.Begin(1)
		looks(1, false)
		work.Begin(1)
		looks(1, false)
		work.End(2)
	}
}
