package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/pki"
)

// TokenPrefix is where created tokens are kept in the store, each as a JSON pki.TokenRecord under its id.
const TokenPrefix = "/ctlplane/tokens/"

// Tokens keeps created tokens in the member's store.
func (m *Member) Tokens() pki.TokenStore {
	a := &admission{clusterID: m.config.Identity.ClusterID}
	a.member.Store(m)
	return a
}

// CreateToken implements pki.TokenStore.
func (a *admission) CreateToken(ctx context.Context, record pki.TokenRecord) error {
	m, err := a.running()
	if err != nil {
		return err
	}
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	_, err = m.Put(ctx, &pb.PutRequest{Key: []byte(TokenPrefix + record.ID), Value: value})
	return err
}

// DeleteToken implements pki.TokenStore.
func (a *admission) DeleteToken(ctx context.Context, id string) error {
	m, err := a.running()
	if err != nil {
		return err
	}
	deleted, err := m.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(TokenPrefix + id)})
	if err == nil && deleted.Deleted == 0 {
		return fmt.Errorf("there is no token %q: 'ctlplane token list' shows them", id)
	}
	return err
}

// ListTokens implements pki.TokenStore.
func (a *admission) ListTokens(ctx context.Context) ([]pki.TokenRecord, error) {
	m, err := a.running()
	if err != nil {
		return nil, err
	}
	end := []byte(TokenPrefix)
	end[len(end)-1]++
	return tokens(m.Range(ctx, &pb.RangeRequest{Key: []byte(TokenPrefix), RangeEnd: end}))
}

// LookupToken implements pki.TokenStore.
func (a *admission) LookupToken(ctx context.Context, id string) (pki.TokenRecord, bool, error) {
	m, err := a.running()
	if err != nil {
		return pki.TokenRecord{}, false, err
	}
	if id == listTokenID {
		if !a.open {
			return pki.TokenRecord{}, false, nil
		}
		return m.listToken().Record(pki.RoleMaster), true, nil
	}
	found, err := tokens(m.Range(ctx, &pb.RangeRequest{Key: []byte(TokenPrefix + id)}))
	if err != nil || len(found) == 0 {
		return pki.TokenRecord{}, false, err
	}
	return found[0], true, nil
}

func tokens(response *pb.RangeResponse, err error) ([]pki.TokenRecord, error) {
	if err != nil {
		return nil, err
	}
	var records []pki.TokenRecord
	var damaged error
	for _, pair := range response.Kvs {
		var record pki.TokenRecord
		if err := json.Unmarshal(pair.Value, &record); err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("token %s is damaged: %w", pair.Key, err))
			continue
		}
		records = append(records, record)
	}
	return records, damaged
}
