package page

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Spans is a plot of ratios: one row each, with the median as a dot, the rest as a line from the lowest to the highest,
// and what was aimed at. They lie on a logarithmic axis, on which twice and half are as far from one.
type Spans struct {
	Title string
	Rows  []Span
}

// Span is one row of Spans. All its values are positive; a Target of 0 is none.
type Span struct {
	Label            string
	Median, Min, Max float64
	Target           float64
	// Less says that less is better.
	Less bool
}

func (s Spans) caption() string { return s.Title }

func (s Spans) legend() []key { return nil }

func (s Spans) wide() bool { return true }

func (s Spans) draw() ([]byte, error) {
	p := newPlot()
	p.Add(s)
	lo, hi := 1.0, 1.0
	var ticks []plot.Tick
	for i, row := range s.Rows {
		lo, hi = min(lo, row.Min), max(hi, row.Max)
		if row.Target > 0 {
			lo, hi = min(lo, row.Target), max(hi, row.Target)
		}
		ticks = append(ticks, plot.Tick{Value: s.height(i), Label: row.Label})
	}
	p.X.Min, p.X.Max = lo*0.9, hi*1.1
	Axis{Label: "ratio", Scale: Log}.apply(&p.X)
	p.Y.Min, p.Y.Max = -0.6, float64(len(s.Rows))-0.4
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	p.Y.Tick.LineStyle.Width = 0
	p.Y.Tick.Label.Color = ink
	return element(p, wideWidth, vg.Length(len(s.Rows))*0.72*vg.Centimeter+1.8*vg.Centimeter)
}

// height is where the i-th row lies: the first is on top.
func (s Spans) height(i int) float64 { return float64(len(s.Rows) - 1 - i) }

// Plot implements plot.Plotter.
func (s Spans) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, t := range logTicks(p.X.Min, p.X.Max) {
		if t.Label != "" {
			c.StrokeLine2(draw.LineStyle{Color: faint, Width: 0.7}, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
		}
	}
	c.StrokeLine2(draw.LineStyle{Color: soft, Width: 1}, x(1), c.Min.Y, x(1), c.Max.Y)
	for i, row := range s.Rows {
		at := y(s.height(i))
		shade := colorOf(1)
		if row.Target == 0 && (row.Median >= 1) != row.Less || row.Target > 0 && row.met() {
			shade = colorOf(0)
		}
		c.StrokeLine2(draw.LineStyle{Color: shade, Width: 3.5}, x(row.Min), at, x(row.Max), at)
		c.DrawGlyph(draw.GlyphStyle{Color: shade, Radius: 4.5, Shape: draw.CircleGlyph{}}, vg.Point{X: x(row.Median), Y: at})
		if row.Target > 0 {
			mark := draw.LineStyle{Color: ink, Width: 1.6}
			c.StrokeLine2(mark, x(row.Target), at-7, x(row.Target), at+7)
		}
	}
}

// met says whether the target is reached.
func (s Span) met() bool {
	return !math.IsNaN(s.Median) && (s.Less && s.Median <= s.Target || !s.Less && s.Median >= s.Target)
}
