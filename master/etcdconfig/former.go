package etcdconfig

import (
	"fmt"
	"strconv"
)

// Why flags of etcd 3.5 and 3.6 are nothing any more.
const (
	noV2    = "there is no v2 API, as in etcd since 3.6: clients must speak v3"
	noProxy = "this is no proxy, as etcd is none since 3.6"
)

// formerGates are flags that have become feature gates.
var formerGates = map[string]string{
	"experimental-compact-hash-check-enabled":        "CompactHashCheck",
	"experimental-enable-lease-checkpoint":           "LeaseCheckpoint",
	"experimental-enable-lease-checkpoint-persist":   "LeaseCheckpointPersist",
	"experimental-initial-corrupt-check":             gateInitialCorruptCheck,
	"experimental-stop-grpc-service-on-defrag":       "StopGRPCServiceOnDefrag",
	"experimental-txn-mode-write-with-shared-buffer": "TxnModeWriteWithSharedBuffer",
}

// former declares the flags of etcd 3.5 and 3.6 that 3.7 does not have: what has another name now is taken as that, with
// a line that says so, and so a command line that worked there works here. It comes after the flags of today.
func (t *table) former(s *Settings) {
	t.group = ""
	for _, name := range []string{
		"backend-bbolt-freelist-type", "bootstrap-defrag-threshold-megabytes", "compact-hash-check-time",
		"compaction-batch-limit", "compaction-sleep-interval", "corrupt-check-time", "distributed-tracing-address",
		"distributed-tracing-instance-id", "distributed-tracing-sampling-rate", "distributed-tracing-service-name",
		"downgrade-check-time", "enable-distributed-tracing", "max-learners", "memory-mlock",
		"peer-skip-client-san-verification", "snapshot-catchup-entries", "warning-apply-duration",
		"warning-unary-request-duration", "watch-progress-notify-interval",
	} {
		// Both names set one value.
		t.set.Var(t.set.Lookup(name).Value, "experimental-"+name, "")
		t.add(option{name: "experimental-" + name, former: true, now: name})
	}
	s.formerGates = map[string]bool{}
	for _, name := range sortedKeys(formerGates) {
		t.set.Var(gateValue{s.formerGates, formerGates[name]}, name, "")
		t.add(option{name: name, former: true, gate: formerGates[name]})
	}
	t.gone("enable-v2", false, "false", noV2)
	t.gone("experimental-enable-v2v3", "", "", noV2)
	t.gone("proxy", "off", "off", noProxy)
	t.gone("discovery", "", "", "etcd has given up that service: list the members with --initial-cluster, or use --discovery-token and --discovery-endpoints")
	for _, name := range []string{"proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout", "proxy-write-timeout", "proxy-read-timeout"} {
		t.idleFormer(name, uint(0), noProxy)
	}
	t.idleFormer("discovery-proxy", "", "it goes with --discovery")
	t.idleFormer("experimental-wait-cluster-ready-timeout", "5s", "a member serves clients once there is a leader")
}

// gone declares a flag that asks for something which is not there, unless its value is off.
func (t *table) gone(name string, zero any, off, why string) {
	t.declare(name, zero)
	t.add(option{name: name, former: true, refused: why, idle: why, off: off})
}

func (t *table) idleFormer(name string, zero any, why string) {
	t.declare(name, zero)
	t.add(option{name: name, former: true, idle: why})
}

// warnOfBoth tells that a variable or a key of the file is not taken, for its new name is there as well.
func (s *Settings) warnOfBoth(o option) {
	s.warn(fmt.Sprintf("--%s is ignored: it is called --%s since etcd 3.6, which is given as well", o.name, o.now))
}

// takeFormer sets what a flag of etcd 3.5 or 3.6 is now.
func (s *Settings) takeFormer(o option) error {
	switch {
	case o.now != "" && s.given[o.now]:
		return fmt.Errorf("--%s and --%s are the same setting: remove the former", o.name, o.now)
	case o.now != "":
		s.given[o.now] = true
		s.warn(fmt.Sprintf("--%s is called --%s since etcd 3.6: it is taken as that", o.name, o.now))
	case o.gate != "":
		if _, set := s.FeatureGates[o.gate]; set {
			return fmt.Errorf("--%s is given, and --feature-gates sets %s, too: remove the former", o.name, o.gate)
		}
		if s.FeatureGates == nil {
			s.FeatureGates = map[string]bool{}
		}
		s.FeatureGates[o.gate] = s.formerGates[o.gate]
		s.warn(fmt.Sprintf("--%s is --feature-gates=%s=%v since etcd 3.6: it is taken as that", o.name, o.gate, s.formerGates[o.gate]))
	}
	return nil
}

// gateValue is a feature gate as a flag of its own.
type gateValue struct {
	into map[string]bool
	gate string
}

func (v gateValue) String() string { return strconv.FormatBool(v.into[v.gate]) }

func (v gateValue) Set(text string) error {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("it is neither true nor false")
	}
	v.into[v.gate] = on
	return nil
}

func (gateValue) IsBoolFlag() bool { return true }
