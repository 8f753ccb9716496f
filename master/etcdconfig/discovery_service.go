package etcdconfig

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// discoveryPrefix is where etcd's members meet in another etcd, beneath it the token.
	discoveryPrefix = "/_etcd/registry/"
	// discoveryPause is between two questions to a service that failed to answer.
	discoveryPause = time.Second
)

// findByService registers this member at the service that keeps the list, waits until there are as many as the cluster is to
// have, and answers them as --initial-cluster.
func (s *Settings) findByService(ctx context.Context, logger *slog.Logger) (string, error) {
	d := s.Discovery
	config, err := clientv3.NewClientConfig(&clientv3.ConfigSpec{
		Endpoints: d.Endpoints, DialTimeout: d.DialTimeout, RequestTimeout: d.RequestTimeout,
		KeepAliveTime: d.KeepaliveTime, KeepAliveTimeout: d.KeepaliveTimeout,
		Secure: &clientv3.SecureConfig{Cert: d.CertFile, Key: d.KeyFile, Cacert: d.CAFile, InsecureTransport: d.Plain, InsecureSkipVerify: d.SkipVerify},
		Auth:   d.auth(),
	}, zap.NewNop())
	if err != nil {
		return "", fmt.Errorf("--discovery-endpoints: %w", err)
	}
	config.Logger = zap.NewNop()
	client, err := clientv3.New(*config)
	if err != nil {
		return "", fmt.Errorf("--discovery-endpoints: %w", err)
	}
	defer client.Close()
	m := meeting{client: client, Discovery: d, logger: logger}
	return m.join(ctx, s.selfEntries())
}

func (d Discovery) auth() *clientv3.AuthConfig {
	if d.User == "" {
		return nil
	}
	user, password, together := strings.Cut(d.User, ":")
	if !together {
		password = d.Password
	}
	return &clientv3.AuthConfig{Username: user, Password: password}
}

// selfEntries are this member's, as in --initial-cluster.
func (s *Settings) selfEntries() string {
	var entries []string
	for _, u := range s.AdvertisePeer {
		entries = append(entries, s.Name+"="+u.String())
	}
	return strings.Join(entries, ",")
}

// meeting is where the members of one token find each other. The keys are etcd's: whoever comes first is in.
type meeting struct {
	Discovery
	client *clientv3.Client
	logger *slog.Logger
}

func (m meeting) key(name string) string { return discoveryPrefix + m.Token + "/" + name }

// join is the same for a member that is started again before the cluster began.
func (m meeting) join(ctx context.Context, self string) (string, error) {
	// Of the same name and URLs, it is the same member.
	sum := sha256.Sum256([]byte(self))
	own := m.key(fmt.Sprintf("members/%x", sum[:8]))
	registered := false
	for {
		size, members, revision, err := m.look(ctx)
		if err != nil {
			return "", err
		}
		index := slices.IndexFunc(members, func(kv entry) bool { return kv.key == own })
		switch {
		case index < 0 && len(members) >= size || index >= size:
			return "", fmt.Errorf("the cluster of --discovery-token %s has its %d members, and this is none of them: take a new token, or add this member with 'member add'", m.Token, size)
		case index < 0:
			if registered {
				return "", fmt.Errorf("somebody has removed %s from the discovery service: take a new token", own)
			}
			if err := m.ask(ctx, func(ctx context.Context) error { _, err := m.client.Put(ctx, own, self); return err }); err != nil {
				return "", err
			}
			registered = true
		case len(members) >= size:
			var list []string
			for _, member := range members[:size] {
				list = append(list, member.value)
			}
			m.logger.Info("found the members by the discovery service", "members", strings.Join(list, ","))
			return strings.Join(list, ","), nil
		default:
			m.logger.Info("waiting at the discovery service for the other members", "here", len(members), "of", size)
			if err := m.waitForMore(ctx, revision); err != nil {
				return "", err
			}
		}
	}
}

// entry is a member's.
type entry struct{ key, value string }

// look reads how many members there are to be, and who has come, in that order.
func (m meeting) look(ctx context.Context) (size int, members []entry, revision int64, err error) {
	var wanted, present *clientv3.GetResponse
	err = m.ask(ctx, func(ctx context.Context) (err error) {
		if wanted, err = m.client.Get(ctx, m.key("_config/size")); err != nil {
			return err
		}
		present, err = m.client.Get(ctx, m.key("members/"), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		return err
	})
	if err != nil {
		return 0, nil, 0, err
	}
	if len(wanted.Kvs) == 1 {
		size, _ = strconv.Atoi(strings.TrimSpace(string(wanted.Kvs[0].Value)))
	}
	if size < 1 {
		return 0, nil, 0, fmt.Errorf("the discovery service doesn't say how many members the cluster of --discovery-token %s has: write their number to %s there", m.Token, m.key("_config/size"))
	}
	for _, kv := range present.Kvs {
		members = append(members, entry{string(kv.Key), string(kv.Value)})
	}
	return size, members, present.Header.Revision, nil
}

// ask asks the service until it answers.
func (m meeting) ask(ctx context.Context, question func(context.Context) error) error {
	for {
		asking, cancel := context.WithTimeout(ctx, m.RequestTimeout)
		err := question(asking)
		cancel()
		if err == nil {
			return nil
		}
		m.logger.Warn("the discovery service does not answer: it is asked again", "endpoints", strings.Join(m.Endpoints, ","), "error", err)
		select {
		case <-time.After(discoveryPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// waitForMore returns once there may be another member than at the revision.
func (m meeting) waitForMore(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-m.client.Watch(ctx, m.key("members/"), clientv3.WithPrefix(), clientv3.WithRev(revision+1)):
		return nil // a member, or a watch that ended: both are looked into
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
