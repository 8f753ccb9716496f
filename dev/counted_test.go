package dev

import "testing"

func TestOneIsNotSeveral(t *testing.T) {
	for n, want := range map[int]string{0: "0 masters", 1: "1 master", 3: "3 masters"} {
		if got := counted(n, "master"); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
