package master

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

func prefix(text string) netip.Prefix {
	if text == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(text)
}

func TestSettingsAreTheClusters(t *testing.T) {
	services := "10.43.0.0/16"
	kept := raftstore.Settings{ClusterCIDR: prefix("10.42.0.0/16"), ServiceCIDR: prefix(services), NodeRangeBits: 24}
	for _, test := range []struct {
		name              string
		cluster, services string
		bits              int
		kept              *raftstore.Settings
		hasNodes          bool
		want              string // cluster CIDR and bits
		refused           string
	}{
		{name: "a new cluster", services: services, want: "10.48.0.0/12 25"},
		{name: "a new cluster with a range of its own", cluster: "172.16.0.0/16", services: services, want: "172.16.0.0/16 25"},
		{name: "a new cluster with a range for one node", cluster: "172.16.0.0/25", services: services, want: "172.16.0.0/25 25"},
		{name: "a new cluster with larger ranges for nodes", cluster: "172.16.0.0/16", services: services, bits: 22, want: "172.16.0.0/16 22"},
		{name: "ranges without room for a node's pods", services: services, bits: 26, refused: "110 pods"},
		{name: "nodes' ranges larger than the cluster's", cluster: "172.16.0.0/24", services: services, bits: 22, refused: "does not fit"},
		{name: "ranges that overlap", cluster: "10.0.0.0/8", services: services, refused: "overlap"},
		{name: "a cluster of before settings were kept", services: services, hasNodes: true, want: "10.42.0.0/16 24"},
		{name: "such a one with a range of its own", cluster: "172.16.0.0/16", services: services, hasNodes: true, want: "172.16.0.0/16 24"},
		{name: "a restart", services: services, kept: &kept, want: "10.42.0.0/16 24"},
		{name: "a restart with the same", cluster: "10.42.0.0/16", services: services, bits: 24, kept: &kept, want: "10.42.0.0/16 24"},
		{name: "a larger range", cluster: "10.40.0.0/15", services: "10.50.0.0/16", kept: &raftstore.Settings{ClusterCIDR: prefix("10.41.0.0/16"), ServiceCIDR: prefix("10.50.0.0/16"), NodeRangeBits: 24}, want: "10.40.0.0/15 24"},
		{name: "another range", cluster: "10.44.0.0/16", services: services, kept: &kept, refused: "start the master without --cluster-cidr"},
		{name: "a smaller range", cluster: "10.42.0.0/17", services: services, kept: &kept, refused: "contains 10.42.0.0/16"},
		{name: "other services", services: "10.99.0.0/16", kept: &kept, refused: "--service-cidr 10.43.0.0/16"},
		{name: "other ranges for nodes", services: services, bits: 25, kept: &kept, refused: "--node-cidr-mask-size"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Config{ClusterCIDR: prefix(test.cluster), ServiceCIDR: prefix(test.services), NodeRangeBits: test.bits}
			var got raftstore.Settings
			var err error
			if test.kept == nil {
				got, err = c.begin(test.hasNodes)
			} else {
				got, err = c.goOn(*test.kept)
			}
			if test.refused != "" {
				kind := errSettings
				if test.kept == nil {
					kind = errFlags // there is nothing yet that they could differ from
				}
				if !errors.Is(err, kind) || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("want a refusal that says %q, got %+v, %v", test.refused, got, err)
				}
				return
			}
			want := strings.Fields(test.want)
			if err != nil || got.ClusterCIDR.String() != want[0] || got.NodeRangeBits != int(want[1][0]-'0')*10+int(want[1][1]-'0') {
				t.Errorf("got %+v, %v; want %s", got, err, test.want)
			}
		})
	}
}

// TestClusterCIDRTravelsWithTheEnrolment lets a node in, on the API port, and restarts the master with other flags.
func TestClusterCIDRTravelsWithTheEnrolment(t *testing.T) {
	api := freeAddress(t)
	r := startStore(t, func(c *Config) {
		c.StoreOnly, c.KVInsecure, c.APIAddr, c.ClusterCIDR = false, false, api, prefix("172.20.0.0/16")
		c.Token, c.CertLifetime = "correct horse battery staple", time.Minute
	})
	token, err := pki.ParseToken(r.config.Token)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pki")
	e, err := pki.Enrol(t.Context(), dir, api, token, pki.JoinRequest{Name: "n1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if e.ClusterCIDR() != "172.20.0.0/16" || len(e.Members()) != 1 || e.Members()[0].APIAddress != api {
		t.Errorf("the node was told %s and %v", e.ClusterCIDR(), e.Members())
	}
	before := e.Client.Certificate().Leaf
	if err := e.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := e.Client.Certificate().Leaf; after.SerialNumber.Cmp(before.SerialNumber) == 0 || time.Until(after.NotAfter) > time.Minute {
		t.Errorf("the new certificate ends at %v, the old one did at %v", after.NotAfter, before.NotAfter)
	}
	r.stop()
	other := r.config
	other.ClusterCIDR = prefix("172.30.0.0/16")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Run(ctx, other); !errors.Is(err, errSettings) {
		t.Errorf("a master with another range runs: %v", err)
	}
}

// TestUnusableFlagsAreToldBeforePortsAreTaken starts masters whose ports could not be listened on.
func TestUnusableFlagsAreToldBeforePortsAreTaken(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"the token has 5 characters":   func(c *Config) { c.Token = "short" },
		`unknown log store "tape"`:     func(c *Config) { c.LogStore = "tape" },
		"this master's flags can't be": func(c *Config) { c.NodeRangeBits = 30 },
	} {
		config := Config{DataDir: t.TempDir(), PeerAddr: "nowhere", ClientAddr: "nowhere", APIAddr: "nowhere"}
		change(&config)
		if err := Run(t.Context(), config); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
