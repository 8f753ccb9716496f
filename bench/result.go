package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Result is what one workload gave: a report, or a comparison.
type Result struct {
	Report     *Report
	Comparison *Comparison
}

// MarshalJSON is that of whichever there is.
func (r Result) MarshalJSON() ([]byte, error) {
	if r.Comparison != nil {
		return json.Marshal(r.Comparison)
	}
	return json.Marshal(r.Report)
}

func (r Result) writeText(w io.Writer) error {
	if r.Comparison != nil {
		return r.Comparison.WriteText(w)
	}
	return r.Report.WriteText(w)
}

// reports are all that were made.
func (r Result) reports() []Report {
	if r.Comparison == nil {
		return []Report{*r.Report}
	}
	var all []Report
	for _, pair := range r.Comparison.Rounds {
		all = append(all, pair[:]...)
	}
	return all
}

// writers are the forms of output, by what -o calls them.
var writers = map[string]func(w io.Writer, results []Result) error{
	"text": writeText,
	"json": writeJSON,
	"html": WriteHTML,
}

func writeText(w io.Writer, results []Result) error {
	for i, r := range results {
		if len(results) > 1 && r.Report != nil {
			fmt.Fprintf(w, "%s\n", r.Report.Workload)
		}
		if err := r.writeText(w); err != nil {
			return err
		}
		if i < len(results)-1 {
			fmt.Fprintln(w)
		}
	}
	return nil
}

// writeJSON writes one result as an object, several as an array.
func writeJSON(w io.Writer, results []Result) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if len(results) == 1 {
		return enc.Encode(results[0])
	}
	return enc.Encode(results)
}

// terminal is w if it is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
