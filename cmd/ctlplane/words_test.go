package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// walk calls visit for a command and all below it.
func walk(command *cobra.Command, visit func(*cobra.Command)) {
	visit(command)
	for _, below := range command.Commands() {
		walk(below, visit)
	}
}

// TestUnknownWordsAreRefused gives every command that takes no words one: some printed their help and succeeded, or ran without it.
func TestUnknownWordsAreRefused(t *testing.T) {
	root := newRoot()
	var groups, leaves int
	walk(root, func(command *cobra.Command) {
		path := command.CommandPath()
		switch {
		case command == root, command.DisableFlagParsing: // what is not cobra's to check
		case command.HasSubCommands():
			groups++
			if !command.Runnable() {
				t.Errorf("%s succeeds without a look at its words", path)
			}
			if err := command.ValidateArgs([]string{"no-such-command"}); err == nil {
				t.Errorf("%s takes a command that there is not", path)
			}
		case takesNoWords(command):
			leaves++
			if err := command.ValidateArgs([]string{"no-such-word"}); err == nil {
				t.Errorf("%s takes a word that means nothing", path)
			}
		}
	})
	if groups < 20 || leaves < 40 {
		t.Errorf("the walk met %d groups and %d commands without arguments", groups, leaves)
	}
	for _, line := range []string{"bench foo", "member foo", "foo", "image foo", "version foo", "config foo", "check perf foo", "completion foo", "help foo", "help bench foo"} {
		root, out := newRoot(), &bytes.Buffer{}
		root.SetOut(out)
		root.SetErr(out)
		root.SetArgs(strings.Fields(line))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), `unknown command "foo" for "ctlplane`) {
			t.Errorf("ctlplane %s: %v", line, err)
		}
	}
}

// TestCheckOfAStoreOverTLSAsksOverTLS has what `check datascale` asks for by HTTP, which it did in plain text.
func TestCheckOfAStoreOverTLSAsksOverTLS(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "")
	for _, c := range []struct{ given, want, ca string }{
		{"--cacert=/ca --endpoints=a:1,https://b:2", "https://a:1,https://b:2", "/ca"},
		{"--insecure-transport --endpoints=a:1", "a:1", ""},
		{"--endpoints=a:1", "a:1", ""},
	} {
		if err := os.Setenv("SSL_CERT_FILE", ""); err != nil {
			t.Fatal(err)
		}
		command := &cobra.Command{}
		addStoreFlags(command)
		flags := command.PersistentFlags()
		if err := flags.Parse(strings.Fields(c.given)); err != nil {
			t.Fatal(err)
		}
		if err := overHTTP(flags); err != nil {
			t.Errorf("%s: %v", c.given, err)
		}
		endpoints, _ := flags.GetStringSlice("endpoints")
		if got := strings.Join(endpoints, ","); got != c.want || os.Getenv("SSL_CERT_FILE") != c.ca {
			t.Errorf("%s: endpoints %s, CA %q", c.given, got, os.Getenv("SSL_CERT_FILE"))
		}
	}
}

// TestCommandsBearOurName looks for kubectl's and etcdctl's names before their commands, in helps and in what is told on errors.
// Snapshots are of etcdctl too.
func TestCommandsBearOurName(t *testing.T) {
	walk(newRoot(), func(command *cobra.Command) {
		for _, text := range []string{command.Short, command.Long, command.Example, command.Flags().FlagUsages(), command.PersistentFlags().FlagUsages()} {
			for _, other := range []string{"kubectl ", "etcdctl "} {
				if _, after, found := strings.Cut(text, other); found && !strings.HasPrefix(command.CommandPath(), "ctlplane snapshot") {
					t.Errorf("%s: its help has %q", command.CommandPath(), other+after[:min(len(after), 40)])
				}
			}
		}
	})
	for told, want := range map[string]string{
		"You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.": "You must specify the type of resource to get. Use \"ctlplane api-resources\" for a complete list of supported resources.",
		"unknown command \"foo\" for \"kubectl\"":                      "unknown command \"foo\" for \"ctlplane\"",
		"the annotation kubectl.kubernetes.io/last-applied is missing": "the annotation kubectl.kubernetes.io/last-applied is missing",
	} {
		var out bytes.Buffer
		if n, err := (underOurName{&out}).Write([]byte(told)); n != len(told) || err != nil || out.String() != want {
			t.Errorf("%q is told as %q, %d, %v", told, out.String(), n, err)
		}
	}
}
