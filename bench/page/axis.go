package page

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// Axis is one of a plot's.
type Axis struct {
	Label string
	Scale Scale
}

// Scale is how values lie along an axis.
type Scale int

// The scales there are.
const (
	Linear Scale = iota // from zero
	Log                 // of base 10; all values are positive
	Nines               // of percentages: 90, 99, 99.9 … lie as far apart as each other
)

// maxNines bounds a scale of nines: there 100 % lies.
const maxNines = 6

// place is where a value lies on a linear axis of the scale.
func (s Scale) place(v float64) float64 {
	if s != Nines {
		return v
	}
	return min(-math.Log10(max(1-v/100, 0)), maxNines)
}

// apply gives an axis of a plot, whose range is known, its scale and ticks.
func (a Axis) apply(axis *plot.Axis) {
	axis.Label.Text = a.Label
	switch a.Scale {
	case Linear:
		axis.Min = 0
		if axis.Max <= 0 {
			axis.Max = 1
		}
		axis.Tick.Marker = plot.TickerFunc(linearTicks)
	case Log:
		axis.Min, axis.Max = logRange(axis.Min, axis.Max)
		axis.Scale = plot.LogScale{}
		axis.Tick.Marker = plot.TickerFunc(logTicks)
	case Nines:
		axis.Min = 0
		axis.Max = max(axis.Max, 1) + 0.25 // room for the last label
		axis.Tick.Marker = plot.TickerFunc(ninesTicks)
	}
}

// linearTicks are five or so round numbers.
func linearTicks(lo, hi float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/4)))
	for _, m := range []float64{5, 2} {
		if (hi-lo)/(m*step) >= 4 {
			step *= m
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(lo / step); i*step <= hi*(1+1e-9); i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: Short(i * step)})
	}
	return ticks
}

// logRange widens a range to 1, 2 or 5 times a power of ten at both ends.
func logRange(lo, hi float64) (float64, float64) {
	if lo <= 0 || hi <= 0 || math.IsInf(lo, 0) || math.IsInf(hi, 0) {
		return 1, 10
	}
	steps := logSteps(lo/10, hi*10)
	from, to := steps[0], steps[len(steps)-1]
	for _, s := range steps {
		if s <= lo*(1+1e-9) {
			from = s
		}
	}
	for _, s := range steps {
		if s >= hi*(1-1e-9) && s > from {
			return from, s
		}
	}
	return from, to
}

// logSteps are 1, 2 and 5 times the powers of ten around lo to hi.
func logSteps(lo, hi float64) []float64 {
	var steps []float64
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, m := range []float64{1, 2, 5} {
			steps = append(steps, m*math.Pow(10, e))
		}
	}
	return steps
}

// logTicks labels every step where there are few, else the powers of ten.
func logTicks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	all := math.Log10(hi/lo) < 2.2
	for _, s := range logSteps(lo, hi) {
		if s < lo*(1-1e-9) || s > hi*(1+1e-9) {
			continue
		}
		t := plot.Tick{Value: s}
		if e := math.Log10(s); all || math.Abs(e-math.Round(e)) < 1e-9 {
			t.Label = Short(s)
		}
		ticks = append(ticks, t)
	}
	return ticks
}

func ninesTicks(_, hi float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 0, Label: "0 %"}, {Value: Nines.place(50), Label: "50 %"}}
	for n := 1; n < maxNines && float64(n) <= hi+1e-9; n++ {
		label := strings.Repeat("9", min(n, 2))
		if n == 1 {
			label = "90"
		} else if n > 2 {
			label += "." + strings.Repeat("9", n-2)
		}
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: label + " %"})
	}
	return ticks
}

// Short writes a number with as few digits as tell it: 1200 is 1.2k, 0.05 is 0.05.
func Short(v float64) string {
	for _, unit := range []struct {
		size   float64
		suffix string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 3, 64) + unit.suffix
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
