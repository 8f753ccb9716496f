package robustness

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/test/robustness/members"
)

// TestBrokenBuildsAreFound breaks the store on purpose, in the ways of package broken that are asked for, and wants the harness to
// find it. One is always tried: a harness that finds nothing says nothing.
func TestBrokenBuildsAreFound(t *testing.T) {
	var faults []broken.Fault
	for _, fault := range broken.All() {
		if *breakIt == "all" || strings.Contains(*breakIt, string(fault)) {
			faults = append(faults, fault)
		}
	}
	if len(faults) == 0 {
		t.Fatalf("%q names none of %v", *breakIt, broken.All())
	}
	built := *binary
	if built == "" {
		var err error
		if built, err = members.Build(t.Context(), t.TempDir(), "broken"); err != nil {
			t.Fatal(err)
		}
	}
	// The scenarios that are about what is broken. Where there is none, it shows without any fault.
	scenarios := map[broken.Fault]string{
		broken.ReadWithoutProof:      "overthrown-leader",
		broken.AnswerBeforeSync:      "blackout",
		broken.KeepaliveWithoutProof: "pause-leader-long",
	}
	for _, fault := range faults {
		t.Run(string(fault), func(t *testing.T) {
			config := members.Config{
				Binary: built, Dir: runDir(t), Members: 3, Disks: *disks, Environment: []string{broken.Variable + "=" + string(fault)},
			}
			plan := scenarios[fault]
			if plan == "" {
				plan = "quiet"
			}
			if *plans != "" {
				plan = *plans
			}
			begun := time.Now()
			report, found := disturb(t, config, *duration, plan)
			if found == nil {
				t.Fatalf("it was not found. %v", report)
			}
			checks := map[string]int{}
			for _, v := range found.Result.Violations {
				checks[v.Check]++
			}
			if len(checks) == 0 {
				t.Fatalf("nothing that clients saw was found, only %v", found.Failures)
			}
			t.Logf("found after %v, in round %d (%s): %s", time.Since(begun).Round(time.Second), found.Number+1, found.Plan.Name, list(checks))
		})
	}
}

// hasNothingBroken checks that what breaks a build is not in this one.
func hasNothingBroken(t *testing.T, binary string) {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte(broken.Variable)) {
		t.Errorf("%s can be broken on purpose: it was built with the tag for that", binary)
	}
}
