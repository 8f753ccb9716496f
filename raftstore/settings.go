package raftstore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// settingsKey is where the cluster's settings are kept in the store, as JSON.
const settingsKey = "/ctlplane/settings"

// Settings are what must be the same for all machines of a cluster, whatever each is started with. They are written when the
// cluster begins, and hold from then on.
type Settings struct {
	// ClusterCIDR holds all pods' addresses, ServiceCIDR all services'.
	ClusterCIDR netip.Prefix `json:"clusterCidr"`
	ServiceCIDR netip.Prefix `json:"serviceCidr"`
	// NodeRangeBits is the prefix length of a node's part of ClusterCIDR.
	NodeRangeBits int `json:"nodeRangeBits"`
}

// Settings reads the cluster's settings; ok is false as long as there are none.
func (m *Member) Settings(ctx context.Context) (settings Settings, ok bool, err error) {
	settings, revision, err := m.readSettings(ctx)
	return settings, revision != 0, err
}

func (m *Member) readSettings(ctx context.Context) (settings Settings, revision int64, err error) {
	found, err := m.Range(ctx, &pb.RangeRequest{Key: []byte(settingsKey)})
	if err != nil || len(found.Kvs) == 0 {
		return settings, 0, err
	}
	if err := json.Unmarshal(found.Kvs[0].Value, &settings); err != nil {
		return settings, 0, fmt.Errorf("the cluster's settings (%s) are damaged: %w", settingsKey, err)
	}
	return settings, found.Kvs[0].ModRevision, nil
}

// Settle has decide say what the cluster's settings are to be, given those that are kept (ok false: none), and keeps its
// answer. It decides again when another master was quicker.
func (m *Member) Settle(ctx context.Context, decide func(kept Settings, ok bool) (Settings, error)) (Settings, error) {
	for {
		kept, revision, err := m.readSettings(ctx)
		if err != nil {
			return kept, err
		}
		next, err := decide(kept, revision != 0)
		if err != nil || revision != 0 && next == kept {
			return next, err
		}
		value, err := json.Marshal(next)
		if err != nil {
			return next, err
		}
		answer, err := m.Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{{
				Key: []byte(settingsKey), Result: pb.Compare_EQUAL, Target: pb.Compare_MOD,
				TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
			}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(settingsKey), Value: value}}}},
		})
		if err != nil || answer.Succeeded {
			return next, err
		}
	}
}
