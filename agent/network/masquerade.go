package network

import (
	"context"
	"fmt"
	"net/netip"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/knftables"
)

const masqueradeTable = "ctlplane-network"

// ensureMasquerade gives pods' traffic that leaves the cluster the node's address, since nobody out there
// knows a way back to a pod's.
func ensureMasquerade(podRange, cluster netip.Prefix) error {
	nft, err := knftables.New(knftables.IPv4Family, masqueradeTable)
	if err != nil {
		return fmt.Errorf("the pod network needs nftables (Debian's package nftables, and root): %w", err)
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: ptr.To("pods' way out of the cluster, kept by ctlplane")})
	tx.Add(&knftables.Chain{
		Name: "postrouting", Type: ptr.To(knftables.NATType),
		Hook: ptr.To(knftables.PostroutingHook), Priority: ptr.To(knftables.SNATPriority),
	})
	tx.Add(&knftables.Rule{
		Chain: "postrouting",
		Rule:  fmt.Sprintf("ip saddr %s ip daddr != %s masquerade", podRange.Masked(), cluster.Masked()),
	})
	return nft.Run(context.Background(), tx)
}

func removeMasquerade() error {
	nft, err := knftables.New(knftables.IPv4Family, masqueradeTable)
	if err != nil {
		return nil // without nftables there is nothing of ours in it
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // so that the deletion succeeds when there is none
	tx.Delete(&knftables.Table{})
	return nft.Run(context.Background(), tx)
}
