package page

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

func labels(ticks []plot.Tick) string {
	var all []string
	for _, t := range ticks {
		if t.Label != "" {
			all = append(all, t.Label)
		}
	}
	return strings.Join(all, " ")
}

func TestTicks(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{labels(linearTicks(0, 10)), "0 2 4 6 8 10"},
		{labels(linearTicks(0, 18_500)), "0 2k 4k 6k 8k 10k 12k 14k 16k 18k"},
		{labels(linearTicks(0, 0.5)), "0 0.1 0.2 0.3 0.4 0.5"},
		{labels(logTicks(1, 20)), "1 2 5 10 20"},
		{labels(logTicks(0.1, 1000)), "0.1 1 10 100 1k"},
		{labels(ninesTicks(0, 3)), "0 % 50 % 90 % 99 % 99.9 %"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

func TestLogRangeEndsAtSteps(t *testing.T) {
	for _, test := range [][4]float64{{3, 70, 2, 100}, {1, 1, 1, 2}, {0.2, 5, 0.2, 5}, {0, 5, 1, 10}, {math.Inf(1), 1, 1, 10}} {
		if lo, hi := logRange(test[0], test[1]); math.Abs(lo/test[2]-1) > 1e-9 || math.Abs(hi/test[3]-1) > 1e-9 {
			t.Errorf("%v to %v became %v to %v, want %v to %v", test[0], test[1], lo, hi, test[2], test[3])
		}
	}
}

// TestPlots draws what measurements can hold, nothing and nonsense included, and parses it.
func TestPlots(t *testing.T) {
	nan := math.NaN()
	for name, chart := range map[string]Chart{
		"empty":     Lines{Title: "nothing"},
		"one point": Lines{Lines: []Line{{Name: "a", Points: []XY{{1, 1}}}}, Marks: []Mark{{X: 1, Name: "<now>"}}},
		"all zero":  Lines{Y: Axis{Scale: Log}, Lines: []Line{{Points: []XY{{0, 0}, {1, 0}}}}},
		"nonsense":  Lines{Lines: []Line{{Points: []XY{{nan, 1}, {1, math.Inf(1)}, {2, 2}, {3, 3}}}}},
		"nines":     Lines{X: Axis{Scale: Nines}, Y: Axis{Scale: Log}, Lines: []Line{{Points: []XY{{0, 1}, {50, 2}, {99.99, 40}, {100, 50}}}}},
		"flat":      Lines{Lines: []Line{{Points: []XY{{0, 7}, {9, 7}}, Dashed: true, Color: 99}}},
		"spans":     Spans{Rows: []Span{{Label: "a < b & c", Median: 2, Min: 1, Max: 3, Target: 1.8}, {Label: "less", Median: 0.2, Min: 0.1, Max: 0.3, Less: true}}},
		"no spans":  Spans{},
	} {
		t.Run(name, func(t *testing.T) {
			svg, err := chart.draw()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
				t.Error("coordinates that are no numbers")
			}
			for decoder := xml.NewDecoder(strings.NewReader(string(svg))); ; {
				if _, err := decoder.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
			}
		})
	}
}

func TestPageEscapes(t *testing.T) {
	p := Page{Title: "<script>", Sections: []Section{{
		Heading: "a & b", Cards: []Card{{Value: "<1", Label: "x"}},
		Tables: []Table{{Head: []string{"<h>"}, Rows: []Row{{Cells: []string{"<td>"}, Mark: "good"}}}},
		Charts: []Chart{Lines{Title: "<t>", Lines: []Line{{Name: "<n>"}}}},
	}}}
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>", "<h>", "<n>", "<t>", "<1"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("%s is not escaped", bad)
		}
	}
	if !strings.Contains(b.String(), `class="good"`) || !strings.Contains(b.String(), "#1668dc") {
		t.Errorf("marks or colours are missing:\n%s", b.String())
	}
}
