package etcdconfig

import (
	"strings"
	"testing"
	"time"
)

// TestFormerSpellings takes what etcd 3.5 and 3.6 called things, by flag, variable and file, and says what they are now.
func TestFormerSpellings(t *testing.T) {
	for name, test := range map[string]struct {
		flag string // name=value
		now  string // what the warning names
		want func(*Settings) bool
	}{
		"time":         {"experimental-corrupt-check-time=10m", "--corrupt-check-time", func(s *Settings) bool { return s.CorruptCheckInterval == 10*time.Minute }},
		"progress":     {"experimental-watch-progress-notify-interval=5s", "--watch-progress-notify-interval", func(s *Settings) bool { return s.WatchProgressInterval == 5*time.Second }},
		"slow":         {"experimental-warning-unary-request-duration=2s", "--warning-unary-request-duration", func(s *Settings) bool { return s.SlowRequest == 2*time.Second }},
		"learners":     {"experimental-max-learners=3", "--max-learners", func(s *Settings) bool { return s.MaxLearners == 3 }},
		"SAN":          {"experimental-peer-skip-client-san-verification=true", "--peer-skip-client-san-verification", func(s *Settings) bool { return s.Peer.SkipClientSAN }},
		"gate":         {"experimental-initial-corrupt-check=true", "--feature-gates=InitialCorruptCheck=true", (*Settings).initialCorruptCheck},
		"gate off":     {"experimental-initial-corrupt-check=false", "--feature-gates=InitialCorruptCheck=false", func(s *Settings) bool { return !s.initialCorruptCheck() }},
		"off is off":   {"enable-v2=false", "there is no v2 API", func(*Settings) bool { return true }},
		"no proxy":     {"proxy=off", "is no proxy", func(*Settings) bool { return true }},
		"nothing left": {"experimental-wait-cluster-ready-timeout=5s", "has no effect", func(*Settings) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			key, value, _ := strings.Cut(test.flag, "=")
			for how, s := range map[string]*Settings{
				"flag":     parse(t, nil, "--"+test.flag),
				"variable": parse(t, []string{variable(key) + "=" + value}),
				"file":     parse(t, nil, "--config-file", file(t, key+": '"+value+"'")),
			} {
				if !test.want(s) || len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "--"+key+" ") || !strings.Contains(s.Warnings[0], test.now) {
					t.Errorf("%s: got %+v", how, s)
				}
			}
		})
	}
	if s := parse(t, nil, "--experimental-initial-corrupt-check"); !s.initialCorruptCheck() {
		t.Error("a flag without a value is not true")
	}
	if s := parse(t, nil, "--experimental-memory-mlock"); !warned(s, "--experimental-memory-mlock", "--memory-mlock") {
		t.Errorf("it is not told that the flag has no effect under its new name either: %q", s.Warnings)
	}
	if s := parse(t, nil, "--feature-gates=LeaseCheckpoint=true", "--experimental-initial-corrupt-check"); !s.initialCorruptCheck() || !s.FeatureGates["LeaseCheckpoint"] {
		t.Errorf("gates are %v", s.FeatureGates)
	}
}

func TestFormerSpellingsRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"--experimental-max-learners and --max-learners are the same": {"--experimental-max-learners=1", "--max-learners=2"},
		"--feature-gates sets InitialCorruptCheck, too":               {"--experimental-initial-corrupt-check", "--feature-gates=InitialCorruptCheck=false"},
		`invalid value "x"`:                  {"--experimental-corrupt-check-time=x"},
		"--enable-v2 can't be used":          {"--enable-v2"},
		"--experimental-enable-v2v3 can't":   {"--experimental-enable-v2v3=/v2"},
		"--proxy can't be used":              {"--proxy=readonly"},
		"--discovery can't be used":          {"--discovery=https://discovery.etcd.io/abc"},
		"choose 0, for never, or more":       {"--experimental-corrupt-check-time=-1s"},
		"did you mean --experimental-memory": {"--experimental-memory-lock"},
	} {
		_, err := Parse(args, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want one line that says %q", args, err, want)
		}
	}
}

// TestWhatIsGoneIsToldByVariableAndFile: etcd 3.7 ignores variables and keys that it does not know, and so old ones.
func TestWhatIsGoneIsToldByVariableAndFile(t *testing.T) {
	for how, s := range map[string]*Settings{
		"variable": parse(t, []string{"ETCD_ENABLE_V2=true", "ETCD_PROXY=on", "ETCD_EXPERIMENTAL_MAX_LEARNERS=3"}, "--max-learners=2"),
		"file":     parse(t, nil, "--config-file", file(t, "enable-v2: true\nproxy: 'on'\nexperimental-max-learners: 3\nmax-learners: 2")),
	} {
		if !warned(s, "--enable-v2", "--proxy", "--experimental-max-learners") || s.MaxLearners != 2 {
			t.Errorf("%s: got %d learners, warnings %q", how, s.MaxLearners, s.Warnings)
		}
	}
}

// TestEveryFormerFlagIsKnown walks the flags of etcd 3.5 and 3.6 that 3.7 dropped.
func TestEveryFormerFlagIsKnown(t *testing.T) {
	table := newTable(&Settings{})
	for name := range flagList(t, "testdata/etcd-v3.5-v3.6-dropped-flags.txt", 30) {
		option, known := table.option(name)
		if !known || !option.former {
			t.Errorf("--%s is not known for a flag that etcd had", name)
		}
		if option.now == "" && option.gate == "" && option.idle == "" {
			t.Errorf("--%s says neither what it is now nor why it is nothing", name)
		}
		if option.now != "" && table.set.Lookup(option.now) == nil {
			t.Errorf("--%s is said to be --%s, which there is not", name, option.now)
		}
		if _, there := gates[option.gate]; option.gate != "" && !there {
			t.Errorf("--%s is said to be the gate %s, which there is not", name, option.gate)
		}
	}
}
