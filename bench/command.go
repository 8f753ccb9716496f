package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Own is a cluster of the benchmark's own: processes that end, with their data, when it is closed.
type Own interface {
	Processes
	Close()
}

// StartOwn starts a cluster to be measured, with its client ports in plain text: three of ctlplane's members or, if etcd is
// the path of that binary, of etcd's.
type StartOwn func(etcd string) (Own, error)

// NewCommand is `ctlplane bench`. A benchmark that is not told which cluster to load starts one with start.
func NewCommand(start StartOwn) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a cluster is, alone or against another",
		Long: `Load a cluster and report its throughput and latency: operations a second, and how long they took.

Without --endpoints the benchmark starts a cluster of three members in a temporary directory, and removes it afterwards. With
--endpoints it loads that cluster, which may be of ctlplane or of etcd. The keys that it writes begin with "` + keyPrefix + `".`,
		Args: cobra.NoArgs,
	}
	for _, w := range Workloads() {
		cmd.AddCommand(newWorkloadCommand(w, start))
	}
	cmd.AddCommand(newAllCommand(start))
	return cmd
}

func newWorkloadCommand(w Workload, start StartOwn) *cobra.Command {
	d := w.Describe()
	s := session{start: start}
	cmd := &cobra.Command{
		Use: d.Name, Short: d.Short, Long: d.Long, Args: cobra.NoArgs, SilenceUsage: true,
		Example: fmt.Sprintf(`  ctlplane bench %[1]s                            # a cluster of its own
  ctlplane bench %[1]s --against bin/etcd -o html > page.html
  ctlplane bench %[1]s --endpoints http://127.0.0.1:2379 -o json`, d.Name),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd, []Workload{w}) },
	}
	if d.NeedsProcesses {
		cmd.Example = strings.Join(strings.Split(cmd.Example, "\n")[:2], "\n")
	}
	s.register(cmd.Flags(), d)
	w.Flags(cmd.Flags())
	return cmd
}

func newAllCommand(start StartOwn) *cobra.Command {
	s := session{start: start}
	cmd := &cobra.Command{
		Use: "all", Short: "Run every benchmark, one after the other", Args: cobra.NoArgs, SilenceUsage: true,
		Long: `Run every benchmark with its own defaults for what is not given, one after the other on the same cluster. Those that stop
members are left out when --endpoints names a cluster.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd, Workloads()) },
	}
	s.register(cmd.Flags(), Description{})
	return cmd
}

// session is one call of the command: its flags, and the clusters that it loads.
type session struct {
	start                     StartOwn
	options                   Options
	against                   string
	rounds                    int
	output                    string
	caFile, certFile, keyFile string
	own                       []Own
}

func (s *session) register(flags *pflag.FlagSet, d Description) {
	o := &s.options
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "warmup" {
			name = "warm-up"
		}
		return pflag.NormalizedName(name)
	})
	flags.StringSliceVar(&o.Endpoints, "endpoints", nil, "client addresses of the cluster to load (default: start one)")
	flags.StringVar(&s.against, "against", "", "load a second cluster in turns and print the ratios: its addresses, or the path of an etcd binary to start one of")
	flags.IntVar(&s.rounds, "rounds", 3, "with --against, how often each is measured")
	flags.IntVar(&o.Clients, "clients", 0, "concurrent clients"+defaultOf(d.Clients))
	flags.IntVar(&o.Connections, "connections", 10, "gRPC connections that the clients share")
	flags.StringVar((*string)(&o.Target), "target", string(TargetLeader), `members to load: "leader" or "all"`)
	flags.IntVar(&o.KeySize, "key-size", 16, "bytes of a key")
	flags.IntVar(&o.KeySpace, "key-space", 100_000, "how many different keys are used")
	flags.IntVar(&o.ValueSize, "value-size", 256, "bytes of a value")
	flags.DurationVar(&o.Duration, "duration", defaultDuration, "how long to measure")
	flags.Int64Var(&o.Total, "total", 0, "how many operations to measure, in place of a duration")
	flags.Float64Var(&o.Rate, "rate", 0, "operations to start per second; latency is then measured from when each was due"+defaultOf(int(d.Rate)))
	flags.DurationVar(&o.WarmUp, "warm-up", defaultWarmUp, "time before the measurement starts")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the sequence of keys")
	flags.StringVar(&s.caFile, "cacert", "", "CA certificate of the cluster (PEM)")
	flags.StringVar(&s.certFile, "cert", "", "client certificate (PEM)")
	flags.StringVar(&s.keyFile, "key", "", "key of the client certificate (PEM)")
	flags.StringVarP(&s.output, "output", "o", "text", `"text", "json", or "html": a page that needs no network`)
}

func defaultOf(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (default %d)", n)
}

// run measures every workload and prints what came out.
func (s *session) run(cmd *cobra.Command, workloads []Workload) error {
	write, ok := writers[s.output]
	if !ok {
		return fmt.Errorf("output %q is neither text nor json nor html", s.output)
	}
	if s.options.WarmUp == 0 {
		s.options.WarmUp = -1 // zero means the default in Options, and none on the command line
	}
	var err error
	if s.options.TLS, err = s.tls(); err != nil {
		return err
	}
	s.options.Progress = terminal(cmd.ErrOrStderr())
	if workloads, err = s.check(cmd, workloads); err != nil {
		return err
	}
	defer s.close()
	sides, err := s.sides()
	if err != nil {
		return err
	}
	// The generator shares the machine with what it measures: it trades memory for time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var results []Result
	for _, w := range workloads {
		result, err := s.measure(cmd.Context(), w, sides)
		if err != nil {
			return err
		}
		results = append(results, result)
	}
	if err := write(cmd.OutOrStdout(), results); err != nil {
		return err
	}
	return nothingDone(results)
}

// check refuses what can't be run before anything is started, and leaves out of several what needs processes where there
// are none.
func (s *session) check(cmd *cobra.Command, workloads []Workload) ([]Workload, error) {
	foreign := len(s.options.Endpoints) > 0 || s.against != "" && !isFile(s.against)
	probe := s.options
	probe.Endpoints = []string{"unknown yet"}
	var kept []Workload
	for _, w := range workloads {
		d := w.Describe()
		if d.NeedsProcesses && foreign {
			if len(workloads) == 1 {
				return nil, fmt.Errorf("%s stops and starts members: leave --endpoints out, and let --against be an etcd binary", d.Name)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "leaving %s out: it stops members, and these are not the benchmark's own\n", d.Name)
			continue
		}
		d.NeedsProcesses = false
		if _, err := probe.withDefaults(d); err != nil {
			return nil, err
		}
		kept = append(kept, w)
	}
	return kept, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// sides are the clusters to load: one, or two with --against. Those that it has to start it starts.
func (s *session) sides() ([]Side, error) {
	base := Side{Name: "cluster", Options: s.options}
	if len(base.Options.Endpoints) == 0 {
		own, err := s.startOwn("")
		if err != nil {
			return nil, err
		}
		base.Name, base.Options.Processes, base.Options.Endpoints = "ctlplane", own, own.Endpoints()
	}
	if s.against == "" {
		return []Side{base}, nil
	}
	other := Side{Name: "the other", Options: s.options}
	if isFile(s.against) {
		own, err := s.startOwn(s.against)
		if err != nil {
			return nil, err
		}
		other.Name, other.Options.Processes, other.Options.Endpoints = "etcd", own, own.Endpoints()
	} else {
		other.Options.Endpoints = strings.Split(s.against, ",")
	}
	return []Side{base, other}, nil
}

func (s *session) startOwn(etcd string) (Own, error) {
	if s.options.TLS != nil {
		return nil, errors.New("--cacert, --cert and --key go with --endpoints: a cluster of the benchmark's own talks plain text")
	}
	if s.options.Progress != nil {
		fmt.Fprintln(s.options.Progress, "starting three members in a temporary directory …")
	}
	own, err := s.start(etcd)
	if err == nil {
		s.own = append(s.own, own)
	}
	return own, err
}

func (s *session) close() {
	for _, own := range s.own {
		own.Close()
	}
}

func (s *session) measure(ctx context.Context, w Workload, sides []Side) (Result, error) {
	if len(sides) == 1 {
		report, err := Measure(ctx, w, sides[0].Options)
		return Result{Report: &report}, err
	}
	comparison, err := Compare(ctx, w, [2]Side(sides), s.rounds, nil)
	return Result{Comparison: &comparison}, err
}

// nothingDone is an error if a cluster did nothing at all of what it was asked.
func nothingDone(results []Result) error {
	for _, result := range results {
		for _, r := range result.reports() {
			if r.Operations == 0 {
				return fmt.Errorf("bench %s: none of the %s succeeded", r.Workload, r.Unit)
			}
		}
	}
	return nil
}
