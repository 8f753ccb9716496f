package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

// etcdFlags are those of etcd's flags that the store has a meaning for so far.
type etcdFlags struct {
	name, dataDir               string
	listenClient, advertise     string
	listenPeer, advertisePeer   string
	cluster, token, state       string
	certFile, keyFile, trustedC string
	clientCertAuth              bool
	log                         logFlags
}

func newEtcd() *cobra.Command {
	var f etcdFlags
	command := &cobra.Command{
		Use:   "etcd",
		Short: "Run the store alone, in place of the etcd binary",
		Long: `Run the store alone, in place of the etcd binary: etcd's flags and ETCD_ variables, as far as they are listed here.

The client port is in plain text unless --cert-file and --key-file are given, as with etcd. Between the members there is
always mutual TLS, of a CA that the first member of --initial-cluster makes; --initial-cluster-token is the secret by which
the others prove that they belong to it, and needs 16 characters at least.`,
		GroupID: groupStore,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.Flags(), "ETCD_"); err != nil {
				return err
			}
			config, err := f.config()
			if err != nil {
				return err
			}
			if config.Logger, err = f.log.logger(cmd.ErrOrStderr()); err != nil {
				return err
			}
			config.Ready = func(r master.Ready) {
				config.Logger.Info("ready to serve client requests", "name", r.Name, "client", r.Client)
			}
			return master.Run(cmd.Context(), config)
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.name, "name", "default", "this member's name")
	flags.StringVar(&f.dataDir, "data-dir", "", "where the data is kept (default NAME.etcd)")
	flags.StringVar(&f.listenClient, "listen-client-urls", "http://localhost:2379", "where clients are served")
	flags.StringVar(&f.advertise, "advertise-client-urls", "", "where clients reach this member (default: --listen-client-urls)")
	flags.StringVar(&f.listenPeer, "listen-peer-urls", "http://localhost:2380", "where the other members are served")
	flags.StringVar(&f.advertisePeer, "initial-advertise-peer-urls", "", "where the other members reach this one (default: --listen-peer-urls)")
	flags.StringVar(&f.cluster, "initial-cluster", "", "all members, name=url each")
	flags.StringVar(&f.token, "initial-cluster-token", "", "the secret that the members share")
	flags.StringVar(&f.state, "initial-cluster-state", "new", "new or existing; makes no difference: the data directory tells")
	flags.StringVar(&f.certFile, "cert-file", "", "certificate of the client port")
	flags.StringVar(&f.keyFile, "key-file", "", "key of the client port's certificate")
	flags.StringVar(&f.trustedC, "trusted-ca-file", "", "CA of the clients' certificates")
	flags.BoolVar(&f.clientCertAuth, "client-cert-auth", false, "require a client certificate")
	f.log.add(command)
	return command
}

func (f *etcdFlags) config() (master.Config, error) {
	config := master.Config{Name: f.name, DataDir: f.dataDir, StoreOnly: true, Token: f.token}
	if config.DataDir == "" {
		config.DataDir = f.name + ".etcd"
	}
	var err error
	if config.DataDir, err = filepath.Abs(config.DataDir); err != nil {
		return config, err
	}
	if config.ClientAddr, err = hostOfURL("listen-client-urls", f.listenClient); err != nil {
		return config, err
	}
	if config.PeerAddr, err = hostOfURL("listen-peer-urls", f.listenPeer); err != nil {
		return config, err
	}
	for name, check := range map[string][2]string{
		"advertise-client-urls":       {f.advertise, f.listenClient},
		"initial-advertise-peer-urls": {f.advertisePeer, f.listenPeer},
	} {
		if check[0] != "" && check[0] != check[1] {
			return config, fmt.Errorf("--%s %s: a member is reached where it listens, at %s; other addresses are not supported", name, check[0], check[1])
		}
	}
	for _, member := range strings.FieldsFunc(f.cluster, func(r rune) bool { return r == ',' }) {
		name, address, found := strings.Cut(member, "=")
		if !found {
			return config, fmt.Errorf("--initial-cluster: %q is not name=url", member)
		}
		host, err := hostOfURL("initial-cluster", address)
		if err != nil {
			return config, err
		}
		config.Peers = append(config.Peers, raftstore.Peer{Name: name, Address: host})
	}
	if len(config.Peers) == 1 {
		config.Peers = nil // a cluster of one has nobody to share a secret with
	}
	config.ClientTLS, err = f.clientTLS()
	config.KVInsecure = config.ClientTLS == nil
	return config, err
}

// clientTLS is the client port's TLS; nil for plain text.
func (f *etcdFlags) clientTLS() (*tls.Config, error) {
	if f.certFile == "" && f.keyFile == "" {
		if strings.HasPrefix(f.listenClient, "https://") {
			return nil, errors.New("--listen-client-urls is https: give --cert-file and --key-file")
		}
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--cert-file and --key-file: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	if f.trustedC != "" {
		content, err := os.ReadFile(f.trustedC)
		if err != nil {
			return nil, fmt.Errorf("--trusted-ca-file: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("--trusted-ca-file: %s holds no certificate", f.trustedC)
		}
	}
	switch {
	case f.clientCertAuth && config.ClientCAs == nil:
		return nil, errors.New("--client-cert-auth needs --trusted-ca-file")
	case f.clientCertAuth, config.ClientCAs != nil:
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// hostOfURL is the host and port of the one URL that a flag holds.
func hostOfURL(flag, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Port() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("--%s: %q is not one URL such as http://10.0.0.1:2379", flag, text)
	}
	return u.Host, nil
}

// fromEnvironment sets the flags that were not given from variables: ETCD_DATA_DIR for --data-dir.
func fromEnvironment(flags *pflag.FlagSet, prefix string) (err error) {
	flags.VisitAll(func(flag *pflag.Flag) {
		name := prefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if value, ok := os.LookupEnv(name); ok && !flag.Changed && err == nil {
			if failed := flags.Set(flag.Name, value); failed != nil {
				err = fmt.Errorf("%s: %w", name, failed)
			}
		}
	})
	return err
}
