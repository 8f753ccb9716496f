package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/master/etcdconfig"
	"github.com/ctlplane/ctlplane/migrate"
)

// The words of the command line. They are no cobra commands: etcd's flags, in etcd's spelling, may stand before and after them.
const (
	migrateVerb = "migrate"
	cutOverVerb = "cut-over"
	statusVerb  = "status"
)

const migrateHelp = `Move a running etcd over without stopping those who write to it.

Usage:
  ctlplane etcd migrate --from URL [flags] [the flags of 'ctlplane etcd' for the new member]
  ctlplane etcd migrate status --data-dir DIR      tell how far a migration is
  ctlplane etcd migrate cut-over --data-dir DIR    take the step, once the copy is level

The command copies the etcd into --data-dir and then follows its changes. Meanwhile it listens at --listen-client-urls and passes
clients' calls on to the etcd: clients can use either. At the cut-over it holds all calls, for less than a second as a rule, until it
has the last revision. Then it is the member of a new cluster with the same keys, revisions, leases, users and roles, and answers
the calls that it held. It goes on in the foreground, as 'ctlplane etcd' does; the same command again is a restart.

Before the cut-over nothing is changed at the etcd, and the command can be ended and started anew at any time. Afterwards the etcd
must not be written to: what is written there all the same is logged as LATE WRITE, with its keys.

For a cluster of several members give --initial-cluster, run this on the member whose name sorts first, and start the others with
'ctlplane etcd' and empty data directories. They wait for the cut-over, and join.

Flags:
`

// migrateFlags are those beside etcd's own; what says how to reach the etcd is spelled as in etcdctl.
type migrateFlags struct {
	from                  []string
	cacert, cert, key     string
	user, password        string
	skipVerify            bool
	dialTimeout           time.Duration
	dryRun, cutOver, help bool
}

func (f *migrateFlags) set() *pflag.FlagSet {
	set := pflag.NewFlagSet(migrateVerb, pflag.ContinueOnError)
	set.StringSliceVar(&f.from, "from", nil, "client URLs of the etcd, separated by commas")
	set.StringVar(&f.cacert, "cacert", "", "CA file by which the etcd's certificate is checked")
	set.StringVar(&f.cert, "cert", "", "certificate file to show to the etcd")
	set.StringVar(&f.key, "key", "", "key file of --cert")
	set.StringVar(&f.user, "user", "", "user[:password] at the etcd, with the role root, where users are enabled")
	set.StringVar(&f.password, "password", "", "password of --user")
	set.BoolVar(&f.skipVerify, "insecure-skip-tls-verify", false, "don't check the etcd's certificate")
	set.DurationVar(&f.dialTimeout, "dial-timeout", 10*time.Second, "how long a log-in at the etcd may take")
	set.BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and what stands against it, and do nothing")
	set.BoolVar(&f.cutOver, cutOverVerb, false, "cut over as soon as the copy is level, rather than when 'migrate cut-over' asks for it")
	set.BoolVarP(&f.help, "help", "h", false, "print this help")
	return set
}

// split takes the flags of the set out of args; the rest is for etcd's own parser.
func split(set *pflag.FlagSet, args []string) (ours, rest []string) {
	for i := 0; i < len(args); i++ {
		name, _, hasValue := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		flag := set.Lookup(name)
		if name == "h" {
			flag = set.Lookup("help")
		}
		if !strings.HasPrefix(args[i], "-") || flag == nil {
			rest = append(rest, args[i])
			continue
		}
		ours = append(ours, "--"+strings.TrimLeft(args[i], "-"))
		if name == "h" {
			ours[len(ours)-1] = "-h"
		}
		if !hasValue && flag.NoOptDefVal == "" && i+1 < len(args) {
			i++
			ours = append(ours, args[i])
		}
	}
	return ours, rest
}

func runMigrate(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 && slices.Contains([]string{cutOverVerb, statusVerb}, args[0]) {
		return askMigration(cmd, args[0], args[1:])
	}
	var f migrateFlags
	set := f.set()
	ours, rest := split(set, args)
	if err := set.Parse(ours); err != nil {
		return err
	}
	if f.help {
		fmt.Fprint(cmd.OutOrStdout(), migrateHelp+set.FlagUsages())
		return nil
	}
	from, err := f.source()
	if err != nil {
		return err
	}
	settings, err := etcdconfig.Parse(rest, os.Environ())
	if err != nil {
		return err
	}
	logger, closeLogs, err := settings.Log.Open(cmd.OutOrStdout(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLogs()) }()
	config, err := settings.Master(cmd.Context(), logger)
	if err != nil {
		return err
	}
	if f.dryRun {
		return planMigration(cmd, from, config)
	}
	config.Ready = tellReady(logger)
	return migrate.Run(cmd.Context(), migrate.Config{From: from, Master: config, CutOver: f.cutOver})
}

func planMigration(cmd *cobra.Command, from clientv3.Config, config master.Config) error {
	source, err := migrate.Dial(from)
	if err != nil {
		return err
	}
	plan, err := source.Plan(cmd.Context(), config)
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	return errors.Join(plan.Print(cmd.OutOrStdout()), plan.Refusal())
}

// source is how the etcd is reached.
func (f *migrateFlags) source() (clientv3.Config, error) {
	if len(f.from) == 0 {
		return clientv3.Config{}, errors.New("name the etcd that is to be moved with --from URL")
	}
	secure := 0
	for _, url := range f.from {
		if strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "unixs://") {
			secure++
		}
	}
	if secure != 0 && secure != len(f.from) {
		return clientv3.Config{}, errors.New("--from: all URLs must be https, or none")
	}
	spec := &clientv3.ConfigSpec{
		Endpoints: f.from, DialTimeout: f.dialTimeout,
		Secure: &clientv3.SecureConfig{Cert: f.cert, Key: f.key, Cacert: f.cacert, InsecureTransport: secure == 0, InsecureSkipVerify: f.skipVerify},
	}
	if f.user != "" {
		name, password, err := userAndPassword(f.user, f.password)
		if err != nil {
			return clientv3.Config{}, err
		}
		spec.Auth = &clientv3.AuthConfig{Username: name, Password: password}
	}
	config, err := clientv3.NewClientConfig(spec, zap.NewNop())
	if err != nil {
		return clientv3.Config{}, err
	}
	config.Logger = zap.NewNop()
	return *config, nil
}

// askMigration talks to a migration that is on its way.
func askMigration(cmd *cobra.Command, verb string, args []string) error {
	set := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	dataDir := set.String("data-dir", "", "the directory that is migrated into")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *dataDir == "" {
		return errors.New("say with --data-dir which migration is meant")
	}
	var told any
	var err error
	if verb == cutOverVerb {
		told, err = cutOverNow(cmd.Context(), *dataDir)
	} else {
		told, err = migrate.AskStatus(cmd.Context(), *dataDir)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(told)
}

// cutOverNow names the unit of the time that it tells.
func cutOverNow(ctx context.Context, dataDir string) (any, error) {
	moved, err := migrate.AskCutOver(ctx, dataDir)
	return struct {
		Revision   int64 `json:"revision"`
		Keys       int64 `json:"keys"`
		Leases     int   `json:"leases"`
		HeldMillis int64 `json:"held_ms"`
	}{moved.Revision, moved.Keys, moved.Leases, moved.Held.Milliseconds()}, err
}
