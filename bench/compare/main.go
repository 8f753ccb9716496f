// Command compare measures ctlplane beside etcd on one machine in one run: three members of each on loopback, in plain
// text, every log synced to the disk, loaded by the same generator, in turns. Only the ratio of the two says something: the
// machine, its load and the generator are the same for both.
package main

import (
	"context"
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

	"github.com/ctlplane/ctlplane/bench/cluster"
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

// comparison is what is compared, and how.
type comparison struct {
	ctlplane, etcd string // binaries
	dir, results   string
	rounds         int
	quick, large   bool
	only           string
}

func (c *comparison) flags(f *flag.FlagSet) {
	f.StringVar(&c.ctlplane, "ctlplane", "bin/ctlplane", "ctlplane's binary")
	f.StringVar(&c.etcd, "etcd", "", "etcd's binary (default: build it from bench/peers)")
	f.StringVar(&c.dir, "dir", "", "directory for data, on the disk to measure (default: a temporary one in "+cluster.DefaultDir+")")
	f.StringVar(&c.results, "results", filepath.Join("bench", "results"), "directory for the results as JSON and as a page")
	f.IntVar(&c.rounds, "rounds", 0, "how often each load and the compaction are measured (default 3, with -quick 1)")
	f.BoolVar(&c.quick, "quick", false, "short loads and little data: to see that it works, not to quote")
	f.BoolVar(&c.large, "large", false, "measure with 10,000,000 keys; takes long")
	f.StringVar(&c.only, "only", "", "of loads, failover, restart and compaction measure this one only")
}

func (c *comparison) run(ctx context.Context, out, progress io.Writer) (err error) {
	if c.rounds < 0 {
		return errors.New("the number of rounds can't be negative")
	}
	if c.dir == "" {
		dir, err := os.MkdirTemp(cluster.DefaultDir, "ctlplane-compare-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.dir = dir
	}
	if err := c.prepare(ctx, progress); err != nil {
		return err
	}
	stages, err := c.stages()
	if err != nil {
		return err
	}
	t := newTable()
	for _, s := range stages {
		if err := c.measure(ctx, s, t, progress); err != nil {
			return err
		}
	}
	if err := t.writeText(out); err != nil {
		return err
	}
	return t.save(c.results, c.name(), out)
}

// name is what the files of results are called: those of other settings are left alone.
func (c *comparison) name() string {
	name := "bench"
	if c.large {
		name = "large"
	}
	if c.only != "" {
		name += "-" + c.only
	}
	if c.quick {
		name += "-quick"
	}
	return name
}

// stages are what is to be measured, in order.
func (c *comparison) stages() ([]stage, error) {
	size := fullSize
	if c.quick {
		size = quickSize
	}
	if c.rounds > 0 {
		size.rounds = c.rounds
	}
	if c.large {
		return []stage{largeStage(size)}, nil
	}
	all := []stage{loadsStage(size), failoverStage(size), restartStage(size), compactionStage(size)}
	if c.only == "" {
		return all, nil
	}
	for _, s := range all {
		if s.name == c.only {
			return []stage{s}, nil
		}
	}
	return nil, fmt.Errorf("nothing is called %q", c.only)
}

// measure runs a stage on both systems in turns, each time on a fresh cluster.
func (c *comparison) measure(ctx context.Context, s stage, t *table, progress io.Writer) error {
	systems := []cluster.System{cluster.Etcd(c.etcd), cluster.Ctlplane(c.ctlplane)}
	for round := range s.rounds {
		for turn := range systems {
			system := systems[(turn+round)%len(systems)]
			fmt.Fprintf(progress, "%s, round %d of %d: %s\n", s.name, round+1, s.rounds, system.Name)
			if err := c.measureOne(ctx, s, system, round, t, progress); err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, system.Name, err)
			}
		}
	}
	return nil
}

func (c *comparison) measureOne(ctx context.Context, s stage, system cluster.System, round int, t *table, progress io.Writer) error {
	started, err := cluster.Start(system, filepath.Join(c.dir, system.Name), members)
	if err != nil {
		return err
	}
	defer started.Close()
	err = s.measure(ctx, &subject{system: system.Name, cluster: started, round: round, table: t, progress: progress})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\n%s", err, started.Logs())
	}
	return err
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
	c.etcd = filepath.Join(c.dir, "etcd.binary")
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
