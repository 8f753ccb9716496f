package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

func newToken() *cobra.Command {
	token := &cobra.Command{
		Use:     "token",
		Short:   "Make, list and delete tokens that machines join with",
		GroupID: groupCluster,
	}
	addKubeconfigFlag(token)
	token.AddCommand(newTokenCreate(), newTokenList(), newTokenDelete())
	return token
}

func newTokenCreate() *cobra.Command {
	var (
		forMaster   bool
		life        time.Duration
		description string
	)
	create := &cobra.Command{
		Use:   "create",
		Short: "Make a token for nodes, or with --master for masters, and print it",
		Long: `Make a token for nodes, or with --master for masters, and print it.

A token for nodes can't be used to join as a master. The token contains a hash of the cluster's CA: by it the machine that joins
knows that it talks to this cluster. The cluster stores only a hash of the token, so that the token can't be shown again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if life < 0 {
				return fmt.Errorf("--ttl %s is in the past: give the time from now on, or 0 for a token that is good for good", life)
			}
			access, kv, err := connectStore(cmd)
			if err != nil {
				return err
			}
			defer kv.Close()
			ca, err := pki.ParseCA(access.CA, nil)
			if err != nil {
				return err
			}
			role := pki.RoleNode
			if forMaster {
				role = pki.RoleMaster
			}
			token, record := pki.NewToken(role, ca.Hash(), life, time.Now())
			record.Description = description
			value, err := json.Marshal(record)
			if err != nil {
				return err
			}
			if _, err := kv.KV().Put(cmd.Context(), raftstore.TokenPrefix+record.ID, string(value)); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token.Reveal())
			return nil
		},
	}
	create.Flags().BoolVar(&forMaster, "master", false, "make a token that masters can join with, too")
	create.Flags().DurationVar(&life, "ttl", 24*time.Hour, "how long the token is valid; 0: for ever")
	create.Flags().StringVar(&description, "description", "", "what the token is for")
	return create
}

func newTokenList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets, which are not stored",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, kv, err := connectStore(cmd)
			if err != nil {
				return err
			}
			defer kv.Close()
			tokens, err := kv.KV().Get(cmd.Context(), raftstore.TokenPrefix, clientv3.WithPrefix())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 3, ' ', 0)
			fmt.Fprintln(table, "ID\tROLE\tEXPIRES\tDESCRIPTION")
			for _, pair := range tokens.Kvs {
				var record pki.TokenRecord
				if err := json.Unmarshal(pair.Value, &record); err != nil {
					return fmt.Errorf("token %s is damaged: %w", pair.Key, err)
				}
				expires := "never"
				if !record.Expires.IsZero() {
					expires = record.Expires.Format(time.RFC3339)
				}
				if record.Expired(time.Now()) {
					expires += " (expired)"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", record.ID, record.Role, expires, record.Description)
			}
			return table.Flush()
		},
	}
}

func newTokenDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Make a token invalid",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, kv, err := connectStore(cmd)
			if err != nil {
				return err
			}
			defer kv.Close()
			deleted, err := kv.KV().Delete(cmd.Context(), raftstore.TokenPrefix+args[0])
			if err == nil && deleted.Deleted == 0 {
				return fmt.Errorf("there is no token %q: see `ctlplane token list`", args[0])
			}
			return err
		},
	}
}

// connectStore opens a client to the store of the cluster that a command means.
func connectStore(cmd *cobra.Command) (client.Access, *client.Client, error) {
	access, err := clusterAccess(cmd)
	if err != nil {
		return access, nil, err
	}
	config, err := access.Config()
	if err != nil {
		return access, nil, err
	}
	config.DialTimeout = connectPatience
	kv, err := client.Connect(cmd.Context(), config)
	if err != nil {
		return access, nil, fmt.Errorf("no master answers: %w; see whether the masters run and can be reached from here, or choose another cluster with KUBECONFIG or --data-dir", err)
	}
	return access, kv, nil
}

// connectPatience is how long a command tries to reach the cluster.
const connectPatience = 5 * time.Second

// connectAPI opens a Kubernetes client to the cluster that a command means.
func connectAPI(cmd *cobra.Command) (client.Access, *kubernetes.Clientset, error) {
	access, err := clusterAccess(cmd)
	if err != nil {
		return access, nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", findKubeconfig(cmd))
	if err != nil {
		return access, nil, err
	}
	api, err := kubernetes.NewForConfig(config)
	return access, api, err
}

// tokenFlags are how a command is given a token, none of which shows it to other users of the machine
// but --token itself.
type tokenFlags struct{ token, file string }

func (f *tokenFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().StringVar(&f.token, "token", "", what+" (other users of this machine can see it: prefer --token-file or CTLPLANE_TOKEN)")
	cmd.Flags().StringVar(&f.file, "token-file", "", "read the token from this file; - is standard input")
}

// read finds the token; empty when none was given.
func (f *tokenFlags) read(_ context.Context, stdin io.Reader) (string, error) {
	switch {
	case f.token != "" && f.file != "":
		return "", fmt.Errorf("give --token or --token-file, not both")
	case f.token != "":
		return f.token, nil
	case f.file == "-":
		content, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
		return strings.TrimSpace(string(content)), err
	case f.file != "":
		content, err := os.ReadFile(f.file)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		return strings.TrimSpace(string(content)), nil
	default:
		return os.Getenv("CTLPLANE_TOKEN"), nil
	}
}
