// Package page makes web pages of measurements: one file each, with its plots as SVG in it, that needs no network and
// runs no script.
package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

// Page is one page.
type Page struct {
	Title    string
	Subtitle string
	Sections []Section
}

// Section is a part of a page.
type Section struct {
	Heading string
	Text    string
	Cards   []Card // figures to be seen first
	Tables  []Table
	Charts  []Chart
}

// Card is one figure, large.
type Card struct {
	Value, Label, Note string
}

// Table is rows of text below a head. The first column is left-aligned, the others right.
type Table struct {
	Head []string
	Rows []Row
}

// Row is one of a table. Mark colours it: "good", "bad", or nothing.
type Row struct {
	Cells []string
	Mark  string
}

// Chart is a plot.
type Chart interface {
	caption() string
	// legend says which line is what; nil where there is one only.
	legend() []key
	// wide is set for one that takes a whole row of the page.
	wide() bool
	// draw makes an SVG element.
	draw() ([]byte, error)
}

// key is an entry of a legend.
type key struct {
	Name   string
	Color  string // as CSS has it
	Dashed bool
}

//go:embed page.html
var source string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"svg": svg, "caption": Chart.caption, "legend": Chart.legend, "wide": Chart.wide,
}).Parse(source))

func svg(c Chart) (template.HTML, error) {
	element, err := c.draw()
	if err != nil {
		return "", fmt.Errorf("plot %q: %w", c.caption(), err)
	}
	return template.HTML(element), nil // of the plotting library's making, which escapes what it is given
}

// Write writes the page.
func (p Page) Write(w io.Writer) error { return pageTemplate.Execute(w, p) }
