package rest

import (
	"strings"
	"testing"
)

// TestManagerIsWhatTheProgramCallsItself has programs whose names can't be a manager's as they are.
func TestManagerIsWhatTheProgramCallsItself(t *testing.T) {
	for agent, want := range map[string]string{
		"":                                "",
		"tool/1.2 (linux)":                "tool",
		"a\tb/1":                          "ab",
		strings.Repeat("m", 200) + "/1":   strings.Repeat("m", 128),
		strings.Repeat("é", 63) + "xyé/1": strings.Repeat("é", 63) + "xy",
		strings.Repeat("é", 63) + "xéy/1": strings.Repeat("é", 63) + "x",
	} {
		if got := agentName(agent); got != want {
			t.Errorf("%q is %q, want %q", agent, got, want)
		}
	}
}
