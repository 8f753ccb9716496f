package bench

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// recorded is a workload that does nothing but note whom it was to load.
type recorded struct{ endpoints []string }

func (w *recorded) Describe() Description {
	return Description{Name: "recorded", Unit: "notes", Clients: 1}
}
func (w *recorded) Flags(*pflag.FlagSet) {}
func (w *recorded) Run(_ context.Context, r *Run) error {
	w.endpoints = append(w.endpoints, r.Endpoints[0])
	now := r.Clock.Now()
	r.Trial(now, now)
	return nil
}

func TestSidesTakeTurnsAtBeingFirst(t *testing.T) {
	a, b := leader().start(t, false), leader().start(t, false)
	w := &recorded{}
	c, err := Compare(t.Context(), w, [2]Side{{"a", Options{Endpoints: []string{a}}}, {"b", Options{Endpoints: []string{b}}}}, 3, nil)
	if err != nil || len(c.Rounds) != 3 {
		t.Fatalf("%v, %d rounds", err, len(c.Rounds))
	}
	if want := []string{a, b, b, a, a, b}; !slices.Equal(w.endpoints, want) {
		t.Errorf("loaded %v, want %v", w.endpoints, want)
	}
	for _, pair := range c.Rounds { // whoever was first, the reports are in their places
		if pair[0].Settings.Endpoints[0] != a || pair[1].Settings.Endpoints[0] != b {
			t.Errorf("a round has %v and %v", pair[0].Settings.Endpoints, pair[1].Settings.Endpoints)
		}
	}
	if _, err := Compare(t.Context(), w, [2]Side{}, 0, nil); err == nil {
		t.Error("no rounds were accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, w, [2]Side{{"a", Options{Endpoints: []string{a}}}, {"b", Options{Endpoints: []string{b}}}}, 1, nil); err == nil {
		t.Error("an interrupted comparison was reported")
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	c := Comparison{Workload: "writes", Names: [2]string{"ours", "theirs"}}
	for _, rates := range [][2]float64{{200, 100}, {30, 10}, {1000, 1000}} {
		c.Rounds = append(c.Rounds, [2]Report{{Unit: "writes", Rate: rates[0]}, {Unit: "writes", Rate: rates[1]}})
	}
	c.Ratios = c.ratios()
	if got, want := c.Ratios[rateName], (Span{2, 1, 3}); got != want {
		t.Errorf("ratio %+v, want %+v", got, want)
	}
	if _, ok := c.Ratios["p50"]; ok {
		t.Error("there is a ratio of latencies that nobody measured")
	}
	var out strings.Builder
	if err := c.WriteText(&out); err != nil || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), "writes/s 200 100 2.00 × 1.00–3.00") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestMedianOfAnEvenNumber(t *testing.T) {
	if got, want := SpanOf([]float64{4, 1, 2, 100}), (Span{3, 1, 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
