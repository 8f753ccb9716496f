package etcdconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The feature gates that mean something here.
const (
	gateInitialCorruptCheck = "InitialCorruptCheck"
	gateCompactHashCheck    = "CompactHashCheck"
	gateLocalAddress        = "SetMemberLocalAddr"
)

// gates are etcd's, each with why it has no effect; empty for one that works.
var gates = map[string]string{
	gateInitialCorruptCheck:        "",
	gateCompactHashCheck:           "",
	"StopGRPCServiceOnDefrag":      "defragmenting stops nothing",
	"TxnModeWriteWithSharedBuffer": noBBolt,
	"LeaseCheckpoint":              "what is left of a lease always survives a change of the leader",
	"LeaseCheckpointPersist":       "what is left of a lease always survives a change of the leader",
	gateLocalAddress:               "",
	"FastLeaseKeepAlive":           "leases are always renewed without a round",
	"PriorityRequest":              "requests wait in the order in which they come",
}

// allGates turn all experimental features on or off.
var allGates = []string{"AllAlpha", "AllBeta"}

// gatesValue is a list of name=true and name=false.
type gatesValue struct{ into *map[string]bool }

func (v *gatesValue) String() string {
	if v.into == nil {
		return ""
	}
	var list []string
	for name, on := range *v.into {
		list = append(list, name+"="+strconv.FormatBool(on))
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func (v *gatesValue) Set(text string) error {
	set := map[string]bool{}
	for _, entry := range splitList(text) {
		name, value, _ := strings.Cut(entry, "=")
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is not NAME=true or NAME=false", entry)
		}
		if _, known := gates[name]; !known && !slices.Contains(allGates, name) {
			return fmt.Errorf("there is no feature gate %q; there are %s", name, strings.Join(knownGates(), ", "))
		}
		set[name] = on
	}
	*v.into = set
	return nil
}

func knownGates() []string {
	names := slices.Clone(allGates)
	for name := range gates {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// warnOfGates tells which gates were set and have no effect.
func (s *Settings) warnOfGates() {
	for _, name := range knownGates() {
		if _, set := s.FeatureGates[name]; set && gates[name] != "" {
			s.warn(fmt.Sprintf("the feature gate %s has no effect: %s", name, gates[name]))
		}
	}
}

func (s *Settings) initialCorruptCheck() bool { return s.alpha(gateInitialCorruptCheck) }

func (s *Settings) compactHashCheck() bool { return s.alpha(gateCompactHashCheck) }

// alpha tells whether a gate is on that is off by default.
func (s *Settings) alpha(gate string) bool {
	if on, set := s.FeatureGates[gate]; set {
		return on
	}
	return s.FeatureGates["AllAlpha"]
}
