package etcdconfig

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
)

// envPrefix is what the variables' names begin with.
const envPrefix = "ETCD_"

// Parse reads settings from the arguments of a command line and from an environment (NAME=value each), by etcd's rules:
//
//  1. A configuration file, named by flag or variable, is all that counts where there is one.
//  2. A variable sets a flag that is not on the command line. One that is set twice, there and here, is refused, for
//     nobody can tell which of the two is meant.
//  3. An empty variable is none.
//
// What it finds wrong is one line, with what to do about it.
func Parse(args, environ []string) (*Settings, error) {
	s := &Settings{resolver: net.DefaultResolver}
	t := newTable(s)
	if err := t.set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return &Settings{Help: true}, nil
		}
		return nil, t.explain(err)
	}
	if rest := t.set.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("%q is no flag: write --name=value, also for what is true or false", rest[0])
	}
	if s.Version {
		return s, nil
	}
	s.given, s.flags = map[string]bool{}, map[string]bool{}
	t.set.Visit(func(f *flag.Flag) { s.given[f.Name], s.flags[f.Name] = true, true })
	env := variables(environ)
	if s.ConfigFile == "" {
		s.ConfigFile = env[variable("config-file")]
	}
	if s.ConfigFile != "" {
		return parseFile(s.ConfigFile, len(s.given) > 1 || len(env) > 1)
	}
	if err := s.takeVariables(t, env); err != nil {
		return nil, err
	}
	return s, s.finish(t)
}

// explain makes a person's error of the flag package's.
func (t *table) explain(err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	name = strings.TrimPrefix(name, "-")
	if meant := nearest(name, t.names()); meant != "" {
		return fmt.Errorf("etcd has no flag --%s: did you mean --%s? (--help lists all)", name, meant)
	}
	return fmt.Errorf("etcd has no flag --%s: --help lists all", name)
}

// variable is the name of a flag's variable: ETCD_DATA_DIR for --data-dir.
func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// variables are those of an environment that are meant for etcd, and have a value.
func variables(environ []string) map[string]string {
	env := map[string]string{}
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) && value != "" {
			env[name] = value
		}
	}
	return env
}

func (s *Settings) takeVariables(t *table, env map[string]string) error {
	known := map[string]bool{}
	for _, option := range t.options {
		name := variable(option.name)
		value, set := env[name]
		known[name] = true
		switch {
		case !set:
		case option.name == "version": // etcd ignores it, with a warning
			s.warn(name + " is ignored: --version prints the version")
		case option.now != "" && s.given[option.now]:
			s.warnOfBoth(option)
		case s.given[option.name]:
			return fmt.Errorf("%s and --%s are both set: remove one of them", name, option.name)
		default:
			if err := t.set.Set(option.name, value); err != nil {
				return fmt.Errorf("invalid value %q for %s: %w", value, name, err)
			}
			s.given[option.name] = true
		}
	}
	for _, name := range sortedKeys(env) {
		if !known[name] {
			s.warn(name + " is ignored: no flag of etcd has that name")
		}
	}
	return nil
}

// finish checks what was read, and warns of what has no effect.
func (s *Settings) finish(t *table) error {
	for _, option := range t.options {
		if option.former && s.given[option.name] {
			if err := s.takeFormer(option); err != nil {
				return err
			}
		}
	}
	for _, option := range t.options {
		if !s.given[option.name] {
			continue
		}
		// As a variable or in a file, etcd ignores a flag that it does not have any more.
		if option.refused != "" && (s.flags[option.name] || !option.former) && t.set.Lookup(option.name).Value.String() != option.off {
			return fmt.Errorf("--%s can't be used: %s", option.name, option.refused)
		}
		if option.idle != "" {
			s.warn(fmt.Sprintf("--%s has no effect: %s", option.name, option.idle))
		}
	}
	s.warnOfGates()
	if s.UnsafeNoFsync {
		s.warn("--unsafe-no-fsync: NOTHING THAT IS WRITTEN IS SAFE. A power cut, or a crash of the system, loses writes that were acknowledged, lets members differ, and can leave a directory that can't be read. Use it for tests alone")
	}
	return s.validate()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// exists tells whether there is a file or folder.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
