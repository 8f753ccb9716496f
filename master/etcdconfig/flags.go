package etcdconfig

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// option is one of etcd's flags.
type option struct {
	name, group, usage string
	// idle is why it has no effect here; empty for one that works.
	idle string
	// refused is why it can't be used, and what to do instead; with the value off it can.
	refused, off string
	// former is set for a flag that etcd had before 3.7; now is the flag, or gate the feature gate, that it has become.
	former    bool
	now, gate string
}

// table are all flags, with the settings that they are read into.
type table struct {
	set     *flag.FlagSet
	options []option
	group   string
}

// newTable declares every flag of etcd.
func newTable(s *Settings) *table {
	t := &table{set: flag.NewFlagSet("etcd", flag.ContinueOnError)}
	t.set.SetOutput(io.Discard)
	t.set.Usage = func() {}
	t.member(s)
	t.clustering(s)
	t.security(s)
	t.monitoring(s)
	t.unsafe(s)
	t.ignored()
	t.former(s)
	return t
}

func (t *table) names() []string {
	names := make([]string, len(t.options))
	for i, o := range t.options {
		names[i] = o.name
	}
	return names
}

func (t *table) option(name string) (option, bool) {
	i := slices.IndexFunc(t.options, func(o option) bool { return o.name == name })
	if i < 0 {
		return option{}, false
	}
	return t.options[i], true
}

func (t *table) add(o option) {
	o.group = t.group
	t.options = append(t.options, o)
}

// Flags that work, by the type of their values.

func (t *table) text(into *string, name, value, usage string) {
	t.set.StringVar(into, name, value, usage)
	t.add(option{name: name, usage: usage})
}

func (t *table) toggle(into *bool, name string, value bool, usage string) {
	t.set.BoolVar(into, name, value, usage)
	t.add(option{name: name, usage: usage})
}

func (t *table) count(into *uint, name string, value uint, usage string) {
	t.set.UintVar(into, name, value, usage)
	t.add(option{name: name, usage: usage})
}

func (t *table) duration(into *time.Duration, name string, value time.Duration, usage string) {
	t.set.DurationVar(into, name, value, usage)
	t.add(option{name: name, usage: usage})
}

func (t *table) value(into flag.Value, name, usage string) {
	t.set.Var(into, name, usage)
	t.add(option{name: name, usage: usage})
}

func (t *table) urls(into *URLs, name, value, usage string) {
	*into, _ = ParseURLs(value) // the defaults are well-formed
	t.value((*urlsValue)(into), name, usage)
}

func (t *table) list(into *[]string, name, value, usage string) {
	*into = splitList(value)
	t.value((*listValue)(into), name, usage)
}

func (t *table) choice(into *string, name, usage string, choices ...string) {
	*into = choices[0]
	t.value(&choiceValue{into, choices}, name, usage)
}

// Flags that have no effect are read all the same: a value that etcd would refuse is refused here.

// idle declares a flag that means nothing here, for the reason given. zero is a value of its type, its default.
func (t *table) idle(name string, zero any, why string) {
	t.declare(name, zero)
	t.add(option{name: name, idle: why})
}

// idleChoice is idle for a flag of which etcd takes some values only. The first is its default.
func (t *table) idleChoice(name, why string, choices ...string) {
	value := choices[0]
	t.set.Var(idleChoiceValue{&choiceValue{&value, choices}}, name, "")
	t.add(option{name: name, idle: why})
}

func (t *table) declare(name string, zero any) {
	switch value := zero.(type) {
	case bool:
		t.set.Bool(name, value, "")
	case uint:
		t.set.Uint(name, value, "")
	case int:
		t.set.Int(name, value, "")
	case time.Duration:
		t.set.Duration(name, value, "")
	case string:
		t.set.String(name, value, "")
	default:
		panic(fmt.Sprintf("flag %s has a value of an unknown type", name))
	}
}

type urlsValue URLs

func (v *urlsValue) String() string { return URLs(*v).String() }

func (v *urlsValue) Set(text string) error {
	urls, err := ParseURLs(text)
	*v = urlsValue(urls)
	return err
}

type listValue []string

func (v *listValue) String() string { return strings.Join(*v, ",") }

func (v *listValue) Set(text string) error {
	*v = splitList(text)
	return nil
}

func splitList(text string) []string {
	var list []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" && !slices.Contains(list, entry) {
			list = append(list, entry)
		}
	}
	return list
}

type choiceValue struct {
	into    *string
	choices []string
}

func (v *choiceValue) String() string {
	if v.into == nil { // flag makes a zero value to compare with
		return ""
	}
	return *v.into
}

func (v *choiceValue) Set(text string) error {
	if !slices.Contains(v.choices, text) {
		return fmt.Errorf("choose one of %s", strings.Join(v.choices, ", "))
	}
	*v.into = text
	return nil
}

// idleChoiceValue says no in etcd's words as well.
type idleChoiceValue struct{ *choiceValue }

func (v idleChoiceValue) Set(text string) error {
	if err := v.choiceValue.Set(text); err != nil {
		return fmt.Errorf("invalid value %q: %w", text, err)
	}
	return nil
}

// uint32Value is a number that etcd keeps in 32 bits.
type uint32Value uint32

func (v *uint32Value) String() string { return fmt.Sprint(uint32(*v)) }

func (v *uint32Value) Set(text string) error {
	var n uint32
	if _, err := fmt.Sscan(text, &n); err != nil || fmt.Sprint(n) != text {
		return fmt.Errorf("it is no number from 0 to %d", ^uint32(0))
	}
	*v = uint32Value(n)
	return nil
}
