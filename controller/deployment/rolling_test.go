package deployment

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRollingSteps(t *testing.T) {
	tests := []struct {
		name               string
		desired, surge, un int32
		current            size
		old                []size
		up                 int32
		down               []int32
	}{
		{"start with a surge of one", 3, 1, 0, size{replicas: 0, available: 0}, []size{{replicas: 3, available: 3}}, 1, []int32{3}},
		{"new pod not available yet", 3, 1, 0, size{replicas: 1, available: 0}, []size{{replicas: 3, available: 3}}, 1, []int32{3}},
		{"new pod available", 3, 1, 0, size{replicas: 1, available: 1}, []size{{replicas: 3, available: 3}}, 1, []int32{2}},
		{"room for the next", 3, 1, 0, size{replicas: 1, available: 1}, []size{{replicas: 2, available: 2}}, 2, []int32{2}},
		{"no surge, one may be missing", 3, 0, 1, size{replicas: 0, available: 0}, []size{{replicas: 3, available: 3}}, 0, []int32{2}},
		{"broken old pods go first", 4, 1, 1, size{replicas: 1, available: 1}, []size{{replicas: 2, available: 2}, {replicas: 2, available: 0}}, 1, []int32{2, 0}},
		{"the oldest set goes first", 4, 0, 2, size{replicas: 0, available: 0}, []size{{replicas: 2, available: 2}, {replicas: 2, available: 2}}, 0, []int32{0, 2}},
		{"done", 3, 1, 1, size{replicas: 3, available: 3}, []size{{replicas: 0, available: 0}}, 3, []int32{0}},
		{"too many of the current", 2, 1, 0, size{replicas: 5, available: 5}, nil, 2, []int32{}},
		{"old pods are still to be deleted", 3, 1, 0, size{replicas: 1, available: 1}, []size{{replicas: 2, available: 2, leaving: 1}}, 1, []int32{2}},
		{"an old set hasn't heard yet", 3, 1, 0, size{replicas: 1, available: 1}, []size{{replicas: 2, available: 2, busy: true}}, 1, []int32{2}},
		{"all old ones are broken", 3, 1, 0, size{replicas: 1, available: 1}, []size{{replicas: 3, available: 0}}, 1, []int32{2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := rolling{test.desired, test.surge, test.un}
			if up := s.up(test.current, test.old); up != test.up {
				t.Errorf("up to %d, want %d", up, test.up)
			}
			if down := s.down(test.current, test.old); !slices.Equal(down, test.down) {
				t.Errorf("down to %v, want %v", down, test.down)
			}
		})
	}
}

// The invariants of rolling hold for any sizes, and a step from any state in which all pods are available
// either changes something or the rollout is done.
func TestRollingInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := func(max int32, name string) int32 { return rapid.Int32Range(0, max).Draw(t, name) }
		s := rolling{desired: count(20, "desired"), surge: count(5, "surge")}
		s.unavailable = count(s.desired, "unavailable")
		if s.surge == 0 && s.unavailable == 0 {
			s.surge = 1
		}
		draw := func(name string) size {
			replicas := count(20, name)
			return size{replicas: replicas, available: count(replicas, name+" available")}
		}
		current := draw("current")
		old := make([]size, count(4, "sets"))
		for i := range old {
			old[i] = draw("old")
		}
		before := sum(old)
		up := s.up(current, old)
		if limit := max(s.desired+s.surge, current.replicas+before.replicas); up+before.replicas > limit {
			t.Fatalf("%d pods after growing, limit %d", up+before.replicas, limit)
		}
		if up > s.desired {
			t.Fatalf("current grew to %d of %d", up, s.desired)
		}
		current = size{replicas: up, available: min(up, current.available)}
		left := s.down(current, old)
		available := current.available
		for i, replicas := range left {
			if replicas < 0 || replicas > old[i].replicas {
				t.Fatalf("an old set went from %d to %d", old[i].replicas, replicas)
			}
			available += min(replicas, old[i].available)
		}
		if least := min(s.desired-s.unavailable, current.available+before.available); available < least {
			t.Fatalf("%d pods left available, want at least %d", available, least)
		}
	})
}

// A rollout comes to its end in a bounded number of steps when every pod becomes available.
func TestRollingEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rolling{desired: rapid.Int32Range(1, 20).Draw(t, "desired"), surge: rapid.Int32Range(0, 5).Draw(t, "surge")}
		s.unavailable = rapid.Int32Range(0, s.desired).Draw(t, "unavailable")
		if s.surge == 0 && s.unavailable == 0 {
			s.unavailable = 1
		}
		current, old := size{}, []size{{replicas: s.desired, available: rapid.Int32Range(0, s.desired).Draw(t, "healthy")}}
		for range 100 {
			current.replicas = s.up(current, old)
			current.available = min(current.available, current.replicas)
			for i, replicas := range s.down(current, old) {
				old[i] = size{replicas: replicas, available: min(replicas, old[i].available)}
			}
			current.available = current.replicas
			if current.replicas == s.desired && old[0].replicas == 0 {
				return
			}
		}
		t.Fatalf("stuck at current %+v, old %+v", current, old)
	})
}
