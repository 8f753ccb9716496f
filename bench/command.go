package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// StartCluster starts a cluster to be measured, with its client ports in plain text. stop ends it and removes its data.
type StartCluster func(ctx context.Context) (endpoints []string, stop func(), err error)

// NewCommand is `ctlplane bench`. A benchmark that is not told which cluster to load starts one with start.
func NewCommand(start StartCluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a cluster is",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newWritesCommand(start))
	return cmd
}

// writesFlags are the flags of `bench writes`.
type writesFlags struct {
	options           Options
	output            string
	caFile            string
	certFile, keyFile string
}

func newWritesCommand(start StartCluster) *cobra.Command {
	var f writesFlags
	cmd := &cobra.Command{
		Use:   "writes",
		Short: "Measure replicated writes: throughput and latency",
		Long: `Writes as many keys as the cluster takes, and reports writes a second and the latency of each.

Without --endpoints a cluster of three masters is started in a temporary directory, measured and removed.
With --endpoints that cluster is loaded, a ctlplane cluster or an etcd; the keys written start with "` + keyPrefix + `".`,
		Example: `  ctlplane bench writes                                   # three masters of its own, 1000 clients
  ctlplane bench writes --pipeline 100                    # the client library's write stream
  ctlplane bench writes --endpoints http://127.0.0.1:2379 --clients 100 -o json`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return f.run(cmd, start) },
	}
	f.register(cmd)
	return cmd
}

func (f *writesFlags) register(cmd *cobra.Command) {
	o, flags := &f.options, cmd.Flags()
	flags.StringSliceVar(&o.Endpoints, "endpoints", nil, "client addresses of the cluster to load (default: start one)")
	flags.IntVar(&o.Clients, "clients", 0, "concurrent writers (default 1000, with --pipeline 10)")
	flags.IntVar(&o.Connections, "connections", 10, "gRPC connections that the clients share")
	flags.IntVar(&o.Pipeline, "pipeline", 0, "writes in flight a client, over the client library's write stream (0: one RPC a write)")
	flags.StringVar((*string)(&o.Target), "target", string(TargetLeader), `members to write to: "leader" or "all"`)
	flags.IntVar(&o.KeySize, "key-size", 16, "bytes of a key")
	flags.IntVar(&o.KeySpace, "key-space", 100_000, "how many different keys are written")
	flags.IntVar(&o.ValueSize, "value-size", 256, "bytes of a value")
	flags.DurationVar(&o.Duration, "duration", 10*time.Second, "how long to measure")
	flags.Int64Var(&o.Total, "total", 0, "how many writes to measure, in place of a duration")
	flags.DurationVar(&o.WarmUp, "warm-up", time.Second, "time before the measurement starts")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the sequence of keys")
	flags.StringVar(&f.caFile, "cacert", "", "CA certificate of the cluster (PEM)")
	flags.StringVar(&f.certFile, "cert", "", "client certificate (PEM)")
	flags.StringVar(&f.keyFile, "key", "", "key of the client certificate (PEM)")
	flags.StringVarP(&f.output, "output", "o", "text", `"text" or "json"`)
}

func (f *writesFlags) run(cmd *cobra.Command, start StartCluster) error {
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("output %q is neither text nor json", f.output)
	}
	o := f.options
	if o.WarmUp == 0 {
		o.WarmUp = -1 // zero means the default in Options, and none on the command line
	}
	tlsConfig, err := f.tls()
	if err != nil {
		return err
	}
	o.TLS = tlsConfig
	o.Progress = terminal(cmd.ErrOrStderr())
	if len(o.Endpoints) == 0 {
		endpoints, stop, err := startOwn(cmd, start, o)
		if err != nil {
			return err
		}
		defer stop()
		o.Endpoints = endpoints
	}
	// The generator shares the machine with what it measures: it trades memory for time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	report, err := Writes(cmd.Context(), o)
	if err != nil {
		return err
	}
	if err := f.print(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	if report.Writes == 0 {
		return errors.New("bench: no write succeeded")
	}
	return nil
}

// startOwn starts a cluster to measure, once it is sure that the run can be made.
func startOwn(cmd *cobra.Command, start StartCluster, o Options) (endpoints []string, stop func(), err error) {
	if o.TLS != nil {
		return nil, nil, errors.New("--cacert, --cert and --key go with --endpoints: a cluster of the benchmark's own talks plain text")
	}
	probe := o
	probe.Endpoints = []string{"unknown yet"}
	if _, err := probe.withDefaults(); err != nil {
		return nil, nil, err
	}
	if o.Progress != nil {
		fmt.Fprintln(o.Progress, "starting three masters in a temporary directory …")
	}
	return start(cmd.Context())
}

// tls is the TLS configuration that the flags give, nil for plain text.
func (f *writesFlags) tls() (*tls.Config, error) {
	if f.caFile == "" && f.certFile == "" && f.keyFile == "" {
		for _, e := range f.options.Endpoints {
			if strings.HasPrefix(e, "https://") {
				return nil, fmt.Errorf("endpoint %s asks for TLS: give --cacert, --cert and --key", e)
			}
		}
		return nil, nil
	}
	if f.caFile == "" || f.certFile == "" || f.keyFile == "" {
		return nil, errors.New("--cacert, --cert and --key go together")
	}
	ca, err := os.ReadFile(f.caFile)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("CA certificate: no certificate in %s", f.caFile)
	}
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

func (f *writesFlags) print(w io.Writer, r Report) error {
	if f.output == "text" {
		return r.WriteText(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// terminal is w if it is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
