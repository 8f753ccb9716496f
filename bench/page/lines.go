package page

import (
	"image/color"
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

// Mark is a moment on the X axis at which something happened, to the line of the same colour.
type Mark struct {
	X     float64
	Name  string
	Color int
}

func (l Lines) caption() string { return l.Title }

func (l Lines) wide() bool { return false }

func (l Lines) legend() []key {
	var keys []key
	for _, line := range l.Lines {
		if line.Name != "" {
			keys = append(keys, key{line.Name, css(colorOf(line.Color)), line.Dashed})
		}
	}
	return keys
}

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
	}
	l.X.apply(&p.X)
	l.Y.apply(&p.Y)
	if l.Y.Scale == Linear {
		p.Y.Max *= 1.08
	}
	for i, m := range l.Marks {
		if at := l.X.Scale.place(m.X); at >= p.X.Min && at <= p.X.Max {
			p.Add(markLine{at: at, name: m.Name, color: colorOf(m.Color), row: i})
		}
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

// markLine is a vertical line with a name, in a row of its own below the upper edge.
type markLine struct {
	at    float64
	name  string
	color color.Color
	row   int
}

// Plot implements plot.Plotter.
func (m markLine) Plot(c draw.Canvas, p *plot.Plot) {
	place, _ := p.Transforms(&c)
	x := place(m.at)
	c.StrokeLine2(draw.LineStyle{Color: m.color, Width: 0.8, Dashes: []vg.Length{2, 2}}, x, c.Min.Y, x, c.Max.Y)
	style := p.X.Tick.Label
	style.Color, style.XAlign, style.YAlign = m.color, draw.XLeft, draw.YTop
	gap := vg.Length(3)
	if x > (c.Min.X+c.Max.X)/2 { // where there is more room to the left
		style.XAlign, gap = draw.XRight, -gap
	}
	c.FillText(style, vg.Point{X: x + gap, Y: c.Max.Y - vg.Length(m.row)*style.Font.Size*1.2}, m.name)
}
