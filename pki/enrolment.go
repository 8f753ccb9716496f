package pki

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/durable"
)

const (
	enrolmentFile = "enrolment.json"
	clientPair    = "client"
	servingPair   = "serving"
	// enrolAgainAfter is the pause before a master that did not answer is asked again.
	enrolAgainAfter = 2 * time.Second
)

// Enrolment is what a node holds since it was let into a cluster: who it is there, its certificates, and where its
// masters are. Safe for concurrent use.
//
// What masters told last is on disk, so that a node which was away finds those that were added meanwhile, as long as one of
// those that it knew, or the one that it is started with, is still there.
type Enrolment struct {
	CA *CA
	// Client is the node's certificate towards the masters, Serving that of its own server.
	Client  *Source
	Serving *Source
	// Hosts are the names and addresses that the node serves as. With none, a renewal asks for those that its certificate
	// has.
	Hosts []string

	dir    string
	server string // an address to ask that need not be a master's own
	mu     sync.Mutex
	record enrolmentRecord
}

// enrolmentRecord is the enrolment's file.
type enrolmentRecord struct {
	Name        string       `json:"name"`
	ClusterID   uint64       `json:"clusterId"`
	Members     []JoinMember `json:"members"`
	ClusterCIDR string       `json:"clusterCidr,omitempty"`
}

// LoadEnrolment reads a node's enrolment. ok is false for a directory without one. server is the address that the node is
// started with: it is asked when no known master answers.
func LoadEnrolment(dir, server string) (e *Enrolment, ok bool, err error) {
	path := filepath.Join(dir, enrolmentFile)
	content, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	e = &Enrolment{dir: dir, server: server}
	if err := json.Unmarshal(content, &e.record); err != nil {
		return nil, false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if e.CA, err = LoadCA(dir); err != nil {
		return nil, false, err
	}
	if e.Client, err = openPair(dir, clientPair); err != nil {
		return nil, false, err
	}
	e.Serving, err = openPair(dir, servingPair)
	return e, err == nil, err
}

// Name is the node's.
func (e *Enrolment) Name() string { return e.record.Name } // never changes

// Members are the cluster's masters as the node was told last.
func (e *Enrolment) Members() []JoinMember {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.record.Members)
}

// ClusterCIDR holds all pods' addresses. It is empty where the masters were of a release that did not tell.
func (e *Enrolment) ClusterCIDR() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.record.ClusterCIDR
}

// ClientEndpoints are the masters' client ports.
func (e *Enrolment) ClientEndpoints() []string {
	var endpoints []string
	for _, member := range e.Members() {
		if member.ClientAddress != "" {
			endpoints = append(endpoints, member.ClientAddress)
		}
	}
	return endpoints
}

// learn keeps what a master told.
func (e *Enrolment) learn(answer JoinAnswer) (changed bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if answer.ClusterID != e.record.ClusterID {
		return false, fmt.Errorf("the master is of cluster %x, the node of %x", answer.ClusterID, e.record.ClusterID)
	}
	next := e.record
	if len(answer.Members) > 0 {
		next.Members = answer.Members
	}
	if answer.ClusterCIDR != "" {
		next.ClusterCIDR = answer.ClusterCIDR
	}
	if reflect.DeepEqual(next, e.record) {
		return false, nil
	}
	if err := next.save(e.dir); err != nil {
		return false, err
	}
	e.record = next
	return true, nil
}

func (r enrolmentRecord) save(dir string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, enrolmentFile), append(content, '\n'))
}

// Enrol has a node let into the cluster that server is a master of, with a token, and stores what it was
// given in dir. While the master does not answer or can't decide, it tries again until ctx ends.
//
// A node that has an enrolment in dir already gets a new one in its place; it must be of the same cluster.
func Enrol(ctx context.Context, dir, server string, token Token, request JoinRequest, log *slog.Logger) (*Enrolment, error) {
	for {
		joined, err := enrolOnce(ctx, server, token, request)
		if err == nil {
			return joined.store(dir, server, request.Name)
		}
		if !passing(err) {
			return nil, fmt.Errorf("%s did not let this node in: %w", server, err)
		}
		log.Warn("cannot join yet, trying again", "server", server, "err", err, "after", enrolAgainAfter)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(enrolAgainAfter):
		}
	}
}

// passing says whether an attempt failed for a reason that may pass: nobody was there, or could decide.
func passing(err error) bool {
	var refused *JoinError
	if errors.As(err, &refused) {
		return refused.Code == JoinUnavailable
	}
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func enrolOnce(ctx context.Context, server string, token Token, request JoinRequest) (*Joined, error) {
	conn, err := DialJoin(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return Join(ctx, conn, token, RoleNode, request)
}

// store keeps what a node was given. The enrolment file comes last: without it nothing counts.
func (j *Joined) store(dir, server, name string) (*Enrolment, error) {
	if before, ok, err := LoadEnrolment(dir, server); err == nil && ok && before.CA.Hash() != j.CA.Hash() {
		return nil, fmt.Errorf("%s is the data directory of node %s of another cluster than %s is of: use another --data-dir",
			filepath.Dir(dir), before.Name(), server)
	}
	if err := j.CA.Save(dir); err != nil {
		return nil, err
	}
	if err := WritePair(dir, clientPair, j.Cert, j.Key); err != nil {
		return nil, err
	}
	if err := WritePair(dir, servingPair, j.ServingCert, j.ServingKey); err != nil {
		return nil, err
	}
	record := enrolmentRecord{Name: name, ClusterID: j.Answer.ClusterID, Members: j.Answer.Members, ClusterCIDR: j.Answer.ClusterCIDR}
	if err := record.save(dir); err != nil {
		return nil, err
	}
	e, _, err := LoadEnrolment(dir, server)
	return e, err
}
