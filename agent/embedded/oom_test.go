package embedded

import "testing"

// A container whose score could not be set did not start: on machines where root has not the right, no guaranteed pod ran.
func TestScoreThatCantBeSetIsNotAskedFor(t *testing.T) {
	own, err := ownOOMScoreAdj()
	if err != nil {
		t.Fatal(err)
	}
	want := own
	if mayLowerOOMScore() {
		want = -997
	}
	if got := oomScoreAdj(-997); got != want {
		t.Errorf("a score of -997 becomes %d, want %d", got, want)
	}
	if got := oomScoreAdj(1000); got != 1000 {
		t.Errorf("a score of 1000 becomes %d", got)
	}
}
