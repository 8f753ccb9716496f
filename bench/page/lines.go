package page

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Lines is a plot of lines.
type Lines struct {
	Title string
	X, Y  Axis
	Lines []Line
	Marks []Mark
}

// Line is one line of a plot.
type Line struct {
	Name   string
	Points []XY
	// Color is its number in the palette. Lines that belong together have the same one, and all but the first are Dashed.
	Color  int
	Dashed bool
}

// XY is a point.
type XY struct{ X, Y float64 }

// Mark is a moment on the X axis at which something happened.
type Mark struct {
	X    float64
	Name string
}

func (l Lines) caption() string { return l.Title }

func (l Lines) draw() ([]byte, error) {
	p := newPlot()
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, faint
	grid.Horizontal.Width = 0.7
	p.Add(grid)
	for _, line := range l.Lines {
		points := l.points(line)
		if len(points) == 0 {
			continue
		}
		drawn, err := plotter.NewLine(points)
		if err != nil {
			return nil, err
		}
		drawn.LineStyle = draw.LineStyle{Color: colorOf(line.Color), Width: 1.6}
		if line.Dashed {
			drawn.LineStyle.Width = 1.1
			drawn.LineStyle.Dashes = []vg.Length{4, 2.5}
		}
		p.Add(drawn)
		if line.Name != "" {
			p.Legend.Add(line.Name, drawn)
		}
	}
	l.X.apply(&p.X)
	l.Y.apply(&p.Y)
	p.Legend.Left = l.X.Scale == Nines // where the curve is low
	if l.Y.Scale == Linear {
		p.Y.Max *= 1.25 // room for the legend
	}
	for _, m := range l.Marks {
		p.Add(markLine{at: l.X.Scale.place(m.X), name: m.Name})
	}
	return element(p, width, height)
}

// points are those of a line that the plot's scales can show.
func (l Lines) points(line Line) plotter.XYs {
	var points plotter.XYs
	for _, p := range line.Points {
		x, y := l.X.Scale.place(p.X), l.Y.Scale.place(p.Y)
		unseen := math.IsNaN(x+y) || math.IsInf(x+y, 0) || l.X.Scale == Log && x <= 0 || l.Y.Scale == Log && y <= 0
		if !unseen {
			points = append(points, plotter.XY{X: x, Y: y})
		}
	}
	return points
}

// markLine is a vertical line with a name at its top.
type markLine struct {
	at   float64
	name string
}

// Plot implements plot.Plotter.
func (m markLine) Plot(c draw.Canvas, p *plot.Plot) {
	place, _ := p.Transforms(&c)
	x := place(m.at)
	c.StrokeLine2(draw.LineStyle{Color: soft, Width: 0.8, Dashes: []vg.Length{2, 2}}, x, c.Min.Y, x, c.Max.Y)
	style := p.X.Tick.Label
	style.XAlign, style.YAlign = draw.XLeft, draw.YTop
	c.FillText(style, vg.Point{X: x + 3, Y: c.Max.Y}, m.name)
}
