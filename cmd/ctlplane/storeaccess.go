package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctlplane/ctlplane/client"
)

// outputFormats are those that etcdctl's commands print in.
var outputFormats = []string{"simple", "json", "fields", "table", "protobuf"}

// addStoreFlags adds the flags that say which store a command talks to, how, and how its answers are printed. They are those
// of etcdctl; pointAtCluster fills in what was not given.
func addStoreFlags(command *cobra.Command) {
	addKubeconfigFlag(command)
	flags := command.PersistentFlags()
	flags.StringSlice("endpoints", nil, "the masters' client ports (default: the cluster's)")
	flags.String("cacert", "", "verify servers with this CA file (default: the cluster's)")
	flags.String("cert", "", "client certificate file (default: the admin's)")
	flags.String("key", "", "client key file (default: the admin's)")
	flags.Bool("insecure-transport", false, "talk to the client port in plain text")
	flags.Bool("insecure-skip-tls-verify", false, "do not verify the server's certificate (for tests only)")
	flags.StringP("write-out", "w", "simple", "output format: "+strings.Join(outputFormats, ", "))
	flags.Bool("hex", false, "print byte strings in hexadecimal")
	flags.Duration("dial-timeout", 2*time.Second, "how long to try to connect")
	flags.Duration("command-timeout", 5*time.Second, "how long a short command may take")
	flags.Duration("keepalive-time", 2*time.Second, "time between keepalives of the connection")
	flags.Duration("keepalive-timeout", 6*time.Second, "how long to wait for the answer to a keepalive")
	flags.Int("max-request-bytes", 0, "largest request (0: 2 MiB)")
	flags.Int("max-recv-bytes", 0, "largest answer (0: no limit)")
	flags.String("user", "", "user of the store: name:password, or a name alone to be asked for the password")
	flags.String("password", "", "password of --user")
	flags.String("auth-jwt-token", "", "token, instead of --user")
	flags.Bool("debug", false, "log what the client does")
	// The commands look these up; finding servers by DNS is not offered.
	for _, name := range []string{"discovery-srv", "discovery-srv-name"} {
		flags.String(name, "", "")
		_ = flags.MarkHidden(name)
	}
	flags.Bool("insecure-discovery", true, "")
	_ = flags.MarkHidden("insecure-discovery")
	_ = command.RegisterFlagCompletionFunc("write-out", cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp))
}

// pointAtCluster fills in the connection flags that were not given: from etcdctl's variables, and from the cluster's
// kubeconfig unless another store was named.
func pointAtCluster(cmd *cobra.Command, _ []string) error {
	flags := cmd.Flags()
	if err := fromEtcdctlVariables(flags); err != nil {
		return err
	}
	if format := flags.Lookup("write-out"); format != nil && !slices.Contains(outputFormats, format.Value.String()) {
		return fmt.Errorf("unknown output format %q: use one of %s", format.Value, strings.Join(outputFormats, ", "))
	}
	access, err := clusterAccess(cmd)
	if flags.Changed("endpoints") {
		endpoints, _ := flags.GetStringSlice("endpoints")
		if err != nil || securityGiven(flags) || !within(endpoints, access.Endpoints) {
			return nil // another store
		}
	} else {
		if err != nil {
			return fmt.Errorf("%w; or name the store's client port with --endpoints", err)
		}
		if err := flags.Set("endpoints", strings.Join(access.Endpoints, ",")); err != nil {
			return err
		}
	}
	return useAccess(flags, findKubeconfig(cmd), access)
}

// securityGiven tells whether it was said how to connect.
func securityGiven(flags *pflag.FlagSet) bool {
	return slices.ContainsFunc([]string{"cacert", "cert", "key", "insecure-transport", "insecure-skip-tls-verify"}, flags.Changed)
}

// within tells whether all endpoints are the cluster's.
func within(endpoints, cluster []string) bool {
	for _, endpoint := range endpoints {
		if !slices.Contains(cluster, strings.TrimPrefix(strings.TrimSpace(endpoint), "https://")) {
			return false
		}
	}
	return true
}

// useAccess fills in the certificates that were not given, which the kubeconfig has.
func useAccess(flags *pflag.FlagSet, kubeconfig string, access client.Access) error {
	if access.Insecure {
		return flags.Set("insecure-transport", "true")
	}
	if !flags.Changed("cacert") {
		ca, err := newMemoryFile("cacert", access.CA)
		if err != nil {
			return err
		}
		if err := flags.Set("cacert", ca.path()); err != nil {
			return err
		}
	}
	if flags.Changed("cert") || flags.Changed("key") {
		return nil
	}
	pair, err := newMemoryFile("cert", identity(access))
	if err != nil {
		return err
	}
	go pair.follow(kubeconfig, identityCheck, nil)
	return errors.Join(flags.Set("cert", pair.path()), flags.Set("key", pair.path()))
}

// overHTTP has a command that asks the first endpoint for its metrics use the transport that the store's client uses. It knows no
// flag for that: it takes the scheme from the endpoint, and the CA from the system's.
func overHTTP(flags *pflag.FlagSet) error {
	if plain, _ := flags.GetBool("insecure-transport"); plain {
		return nil
	}
	ca, _ := flags.GetString("cacert")
	if ca == "" {
		return nil // etcdctl's own way: plain text unless an endpoint says otherwise
	}
	endpoints, err := flags.GetStringSlice("endpoints")
	if err != nil {
		return err
	}
	for i, endpoint := range endpoints {
		if !strings.Contains(endpoint, "://") {
			endpoints[i] = "https://" + endpoint
		}
	}
	return errors.Join(os.Setenv("SSL_CERT_FILE", ca), flags.Lookup("endpoints").Value.(pflag.SliceValue).Replace(endpoints))
}

// etcdctlPrefix begins the variables that stand for etcdctl's flags.
const etcdctlPrefix = "ETCDCTL_"

// fromEtcdctlVariables sets the flags that were not given from etcdctl's variables: ETCDCTL_ENDPOINTS for --endpoints. It takes the
// variables out of the environment, where etcdctl's own code would refuse those that a flag overrides.
func fromEtcdctlVariables(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(flag *pflag.Flag) {
		name := etcdctlPrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok {
			return
		}
		_ = os.Unsetenv(name)
		if value == "" || flag.Changed || err != nil {
			return
		}
		if failed := flags.Set(flag.Name, value); failed != nil {
			err = fmt.Errorf("%s: %w", name, failed)
		}
	})
	_ = os.Unsetenv(etcdctlPrefix + "API") // there is no other than 3
	return err
}
