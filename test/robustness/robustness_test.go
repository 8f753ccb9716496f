package robustness

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/test/robustness/disk"
	"github.com/ctlplane/ctlplane/test/robustness/faults"
	"github.com/ctlplane/ctlplane/test/robustness/members"
)

var (
	duration = flag.Duration("robustness.duration", 3*time.Minute, "how long the cluster is disturbed")
	length   = flag.Duration("robustness.round", 20*time.Second, "how long one round of faults takes")
	seed     = flag.Uint64("robustness.seed", 0, "the seed of the first round; 0: a random one")
	kinds    = flag.String("robustness.faults", "", "the kinds of faults, with commas between; empty: all")
	plans    = flag.String("robustness.plans", "", "the scenarios, with commas between, random among them; empty: all")
	etcd     = flag.String("robustness.etcd", "", "a binary of etcd, to disturb instead of ctlplane")
	disks    = flag.Bool("robustness.disks", true, "give each member a disk of its own that can be disturbed; this takes root and /dev/fuse")
	clocks   = flag.Bool("robustness.clocks", false, "let wall clocks jump; this takes a build of all that ctlplane is made of")
	binary   = flag.String("robustness.binary", "", "a binary of ctlplane; empty: one is built")
	many     = flag.Int("robustness.many", 4200, "how many keys are deleted in one revision now and then")
	breakIt  = flag.String("robustness.broken", string(broken.DropEvent), "builds broken on purpose that have to be found, with commas between, or all")
	keepOn   = flag.Bool("robustness.keep-on", false, "go on after a round that failed")
)

// TestRobustness disturbs a cluster for a while, in rounds. Each round has a seed of its own, from which its plan follows.
func TestRobustness(t *testing.T) {
	dir := runDir(t)
	config := members.Config{Binary: *binary, Dir: dir, Members: 3, Disks: *disks}
	if *etcd != "" {
		config.Binary, config.Etcd = *etcd, true
	}
	if config.Binary == "" {
		build := members.BuildWithClock
		if !*clocks {
			build = func(ctx context.Context, dir string) (string, error) { return members.Build(ctx, dir) }
		}
		built, err := build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		config.Binary = built
	}
	if !config.Etcd {
		hasNothingBroken(t, config.Binary)
	}
	report, failed := disturb(t, config, *duration, *plans)
	t.Log(report)
	if failed != nil {
		t.Errorf("round %d failed", failed.Number)
	}
}

// runDir is a directory for a run's data and logs. It stays if the test fails.
func runDir(t *testing.T) string {
	t.Helper()
	if err := disk.DetachStale(); err != nil {
		t.Errorf("detach the disks of a run that was killed: %v", err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "robustness-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("histories, pictures and logs are in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// disturb makes rounds for a while, of the plans named, and returns the last one that failed.
func disturb(t *testing.T, config members.Config, d time.Duration, plans string) (report *Report, failed *Round) {
	t.Helper()
	cluster, err := members.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	admin, err := cluster.Connect()
	if err != nil {
		t.Fatal(err)
	}
	first := *seed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	report = newReport()
	for number := 0; time.Since(report.Begun) < d; number++ {
		round := &Round{Number: number, Seed: first + uint64(number)}
		round.Plan = choose(t, round.Seed, plans)
		into := filepath.Join(config.Dir, fmt.Sprintf("round-%d", number))
		round.run(t.Context(), settings{cluster, admin, *length, *many, into, config.Etcd})
		report.add(round)
		if !round.Failed() {
			continue
		}
		failed = round
		var text strings.Builder
		round.describe(&text)
		t.Logf("%v after the begin: %s\nall of it is in %s; again: -robustness.seed %d", time.Since(report.Begun).Round(time.Millisecond), text.String(), into, round.Seed)
		if err := round.keep(into); err != nil {
			t.Error(err)
		}
		if !*keepOn {
			break
		}
	}
	return report, failed
}

// choose makes the plan of a round.
func choose(t *testing.T, seed uint64, plans string) faults.Plan {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	known := faults.Kinds(*disks, *clocks && *etcd == "")
	chosen := known
	if *kinds != "" {
		chosen = strings.Split(*kinds, ",")
	}
	for _, k := range chosen {
		if !slices.Contains(known, k) {
			t.Fatalf("there is no fault %q: there are %v", k, known)
		}
	}
	names := faults.Scenarios(chosen)
	names = append(names, slices.Repeat([]string{"random"}, max(1, len(names)))...)
	if plans != "" {
		names = strings.Split(plans, ",")
	}
	name := names[random.IntN(len(names))]
	if name == "random" {
		return faults.Random(random, *length, chosen)
	}
	plan, err := faults.Scenario(name, random, *length)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
