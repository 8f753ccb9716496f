package etcdconfig

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Usage writes what every flag does, by groups as etcd has them; those that have no effect are named at the end.
func Usage(w io.Writer) error {
	t := newTable(&Settings{})
	var text strings.Builder
	idle := map[string][]string{}
	var former []string
	group := ""
	for _, option := range t.options {
		if option.now+option.gate != "" {
			now := "--" + option.now
			if option.gate != "" {
				now = "--feature-gates=" + option.gate + "=..."
			}
			former = append(former, fmt.Sprintf("  --%s\n        %s\n", option.name, now))
			continue
		}
		if option.idle != "" || option.refused != "" {
			why := cmp.Or(option.refused, option.idle)
			idle[why] = append(idle[why], "--"+option.name)
			continue
		}
		if option.group != group {
			group = option.group
			fmt.Fprintf(&text, "\n%s:\n", group)
		}
		value := ""
		if set := t.set.Lookup(option.name).DefValue; set != "" && set != "false" {
			value = " '" + set + "'"
		}
		fmt.Fprintf(&text, "  --%s%s\n        %s\n", option.name, value, option.usage)
	}
	text.WriteString("\nTaken without effect, or refused, and why:\n")
	for _, why := range sortedKeys(idle) {
		fmt.Fprintf(&text, "  %s\n        %s\n", strings.Join(idle[why], " "), why)
	}
	text.WriteString("\nFlags of etcd 3.5 and 3.6 that are taken, with a warning, for what they are now:\n")
	slices.Sort(former)
	text.WriteString(strings.Join(former, ""))
	_, err := io.WriteString(w, text.String())
	return err
}
