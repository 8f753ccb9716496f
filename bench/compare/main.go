// Command compare measures ctlplane beside etcd on one machine in one run: three members of each on loopback, every log
// synced to the disk, loaded by the same generator, in turns. Only the ratio of the two says something: the machine, its load
// and the generator are the same for both.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/ctlplane/ctlplane/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(400) // the generator shares the machine with what it measures
	var c comparison
	c.flags(flag.CommandLine)
	flag.Parse()
	if err := c.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// comparison is what is compared, and how often.
type comparison struct {
	ctlplane, etcd string // binaries
	dir            string
	rounds         int
	duration       time.Duration
	json           bool
}

func (c *comparison) flags(f *flag.FlagSet) {
	f.StringVar(&c.ctlplane, "ctlplane", "bin/ctlplane", "ctlplane's binary")
	f.StringVar(&c.etcd, "etcd", "", "etcd's binary (default: build it from bench/peers)")
	f.StringVar(&c.dir, "dir", "", "directory for data, on the disk to measure (default: a temporary one in /var/tmp)")
	f.IntVar(&c.rounds, "rounds", 3, "how often both are measured; medians are reported")
	f.DurationVar(&c.duration, "duration", 8*time.Second, "how long each load is measured")
	f.BoolVar(&c.json, "json", false, "print every measurement as JSON")
}

// workload is one way of loading a cluster.
type workload struct {
	name     string
	options  bench.Options
	onlyOurs bool // needs ctlplane's write stream
}

var workloads = []workload{
	{name: "1 client", options: bench.Options{Clients: 1}},
	{name: "100 clients", options: bench.Options{Clients: 100}},
	{name: "1000 clients", options: bench.Options{Clients: 1000}},
	{name: "pipelined, 10 × 200 in flight", options: bench.Options{Clients: 10, Connections: 2, Pipeline: 200}, onlyOurs: true},
}

// measured is one workload on one system.
type measured struct {
	System   string       `json:"system"`
	Workload string       `json:"workload"`
	Round    int          `json:"round"`
	Report   bench.Report `json:"report"`
}

func (c *comparison) run(ctx context.Context, out, progress io.Writer) (err error) {
	if c.rounds < 1 {
		return errors.New("there has to be at least one round")
	}
	if c.dir == "" {
		dir, err := os.MkdirTemp("/var/tmp", "ctlplane-compare-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.dir = dir
	}
	if err := c.prepare(ctx, progress); err != nil {
		return err
	}
	var all []measured
	for round := range c.rounds {
		for _, s := range []system{etcdSystem(c.etcd), ctlplaneSystem(c.ctlplane)} {
			results, err := c.measure(ctx, s, round, progress)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all = append(all, results...)
		}
	}
	if c.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	return writeTable(out, all)
}

// prepare makes sure that there are two binaries to run.
func (c *comparison) prepare(ctx context.Context, progress io.Writer) error {
	if _, err := os.Stat(c.ctlplane); err != nil {
		return fmt.Errorf("%w; build it with `make build`, or name it with -ctlplane", err)
	}
	if c.etcd != "" {
		return nil
	}
	fmt.Fprintln(progress, "building etcd from bench/peers …")
	c.etcd = filepath.Join(c.dir, "etcd")
	output, err := filepath.Abs(c.etcd)
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join("bench", "peers"), "-o", output, ".")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build etcd (from the root of the repository): %w\n%s", err, text)
	}
	return nil
}

// measure runs every workload on a fresh cluster of s.
func (c *comparison) measure(ctx context.Context, s system, round int, progress io.Writer) ([]measured, error) {
	cluster, err := startCluster(ctx, s, filepath.Join(c.dir, s.name))
	if err != nil {
		return nil, err
	}
	defer cluster.stop()
	var results []measured
	for _, w := range workloads {
		if w.onlyOurs && !s.pipelined {
			continue
		}
		o := w.options
		o.Endpoints, o.Duration, o.ValueSize, o.Seed = cluster.endpoints, c.duration, 256, uint64(round)
		report, err := bench.Writes(ctx, o)
		if err == nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, cluster.logs())
		}
		fmt.Fprintf(progress, "round %d  %-8s  %-30s %8.0f writes/s  p99 %.1f ms\n",
			round+1, s.name, w.name, report.WritesPerSecond, report.Latency.P99)
		results = append(results, measured{s.name, w.name, round + 1, report})
	}
	return results, nil
}
