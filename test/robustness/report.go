package robustness

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// Report counts what the rounds of a run have done.
type Report struct {
	Begun                                          time.Time
	Rounds, Done, Refused, Unknown, Events, Leases int
	Snapshots                                      int64
	Faults, Plans                                  map[string]int
}

func newReport() *Report {
	return &Report{Begun: time.Now(), Faults: map[string]int{}, Plans: map[string]int{}}
}

func (r *Report) add(round *Round) {
	r.Rounds++
	r.Plans[round.Plan.Name]++
	r.Events += round.Result.Events
	if round.Faults != nil {
		for kind, n := range round.Faults.Counts() {
			r.Faults[kind] += n
		}
	}
	if h := round.History; h != nil {
		counts := h.Count()
		r.Done += counts[traffic.Done]
		r.Refused += counts[traffic.Refused]
		r.Unknown += counts[traffic.Unknown]
		r.Leases += len(h.Leases)
		r.Snapshots += h.Snapshots()
	}
}

func (r *Report) String() string {
	return fmt.Sprintf("%v: %d rounds (%s); %d operations answered, %d refused, %d of unknown outcome; %d events; %d leases; %d snapshots; faults: %s",
		time.Since(r.Begun).Round(time.Second), r.Rounds, list(r.Plans), r.Done, r.Refused, r.Unknown, r.Events, r.Leases, r.Snapshots, list(r.Faults))
}

func list(counts map[string]int) string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		text = append(text, fmt.Sprintf("%s %d", name, counts[name]))
	}
	if text == nil {
		return "none"
	}
	return strings.Join(text, ", ")
}

// describe says all that is needed to understand what a round found.
func (r *Round) describe(w io.Writer) {
	fmt.Fprintf(w, "round %d, seed %d, plan %s\n", r.Number, r.Seed, r.Plan.Name)
	if r.Faults != nil {
		offset := time.Duration(0)
		if r.History != nil {
			offset = r.Faults.Begun().Sub(r.History.Begun)
		}
		fmt.Fprintf(w, "  faults (their times begin %.4f s after those of operations):\n", offset.Seconds())
		for _, line := range r.Faults.Schedule() {
			fmt.Fprintln(w, "   ", line)
		}
	}
	for _, err := range r.Failures {
		fmt.Fprintln(w, "  FAILED:", err)
	}
	for _, v := range r.Result.Violations {
		fmt.Fprintln(w, "  VIOLATION:", v)
	}
	if r.Result.Undecided != "" {
		fmt.Fprintln(w, "  UNDECIDED: linearizability is unknown:", r.Result.Undecided)
	}
}

// keep writes a round down in a directory: its report, every operation, and every response of a watch.
func (r *Round) keep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	write := func(name string, content func(io.Writer)) error {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer file.Close()
		w := bufio.NewWriter(file)
		content(w)
		return w.Flush()
	}
	if err := write("report.txt", r.describe); err != nil {
		return err
	}
	if r.History == nil {
		return nil
	}
	if err := write("operations.txt", func(w io.Writer) {
		for _, o := range r.History.Ops {
			fmt.Fprintln(w, o)
		}
		for _, l := range r.History.Leases {
			fmt.Fprintf(w, "lease %+v\n", *l)
		}
	}); err != nil {
		return err
	}
	return write("watches.txt", func(w io.Writer) {
		for _, watch := range r.History.Watches {
			for i, s := range watch.Segments {
				fmt.Fprintf(w, "%s, segment %d from %d (at a compaction: %v)\n", watch.Name, i, s.Start, s.Compacted)
				for _, response := range s.Responses {
					fmt.Fprintf(w, "  %9.4f s: revision %d, progress %v, error %v\n", response.At.Seconds(), response.Header.GetRevision(), response.IsProgressNotify(), response.Err())
					for _, e := range response.Events {
						fmt.Fprintf(w, "    %v\n", e)
					}
				}
			}
		}
	})
}
