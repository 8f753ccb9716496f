package page

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a plot, and the width of one that takes a whole row. The page scales them to the room that there is.
const (
	width     = 15 * vg.Centimeter
	height    = 8 * vg.Centimeter
	wideWidth = 30 * vg.Centimeter
)

var (
	ink   = color.NRGBA{0x1c, 0x24, 0x30, 0xff}
	soft  = color.NRGBA{0x5b, 0x67, 0x78, 0xff}
	faint = color.NRGBA{0xe3, 0xe8, 0xef, 0xff}
)

// palette is told apart by people who don't see all colours too (after Okabe and Ito).
var palette = []color.NRGBA{
	{0x16, 0x68, 0xdc, 0xff}, // blue
	{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	{0x00, 0x9e, 0x73, 0xff}, // green
	{0xcc, 0x79, 0xa7, 0xff}, // purple
	{0xe6, 0x9f, 0x00, 0xff}, // orange
	{0x56, 0xb4, 0xe9, 0xff}, // sky
}

func colorOf(i int) color.NRGBA { return palette[i%len(palette)] }

// css is a colour as CSS has it.
func css(c color.NRGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// newPlot is an empty plot in the style of the page: light lines, sans-serif, no frame.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.TextHandler = text.Plain{Fonts: font.DefaultCache}
	sans := font.Font{Typeface: "Liberation", Variant: "Sans", Size: 9}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle = draw.LineStyle{Color: faint, Width: 1}
		axis.Padding = 4
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans, soft
		axis.Label.TextStyle.Handler = p.TextHandler
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans, soft
		axis.Tick.Label.Handler = p.TextHandler
		axis.Tick.LineStyle = draw.LineStyle{Color: faint, Width: 0.7}
		axis.Tick.Length = 3
	}
	p.Y.LineStyle.Width = 0
	return p
}

// element draws a plot as an SVG element, without the prologue of a file of its own.
func element(p *plot.Plot, w, h vg.Length) ([]byte, error) {
	canvas := vgsvg.New(w, h)
	p.Draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	_, rest, found := bytes.Cut(b.Bytes(), []byte("<svg"))
	if !found {
		return nil, errors.New("the plotting library made no SVG")
	}
	return append([]byte("<svg"), rest...), nil
}
