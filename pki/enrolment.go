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
	"time"
)

const (
	enrolmentFile = "enrolment.json"
	clientPair    = "client"
	servingPair   = "serving"
	// enrolAgainAfter is the pause before a master that did not answer is asked again.
	enrolAgainAfter = 2 * time.Second
)

// Enrolment is what a node holds since it was let into a cluster: who it is there, and its certificates.
type Enrolment struct {
	Name      string       `json:"name"`
	ClusterID uint64       `json:"clusterId"`
	Members   []JoinMember `json:"members"`

	CA *CA `json:"-"`
	// Client is the node's certificate towards the masters, Serving that of its own server.
	Client  *Source `json:"-"`
	Serving *Source `json:"-"`
}

// LoadEnrolment reads a node's enrolment. ok is false for a directory without one.
func LoadEnrolment(dir string) (e *Enrolment, ok bool, err error) {
	content, err := readFile(filepath.Join(dir, enrolmentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	e = &Enrolment{}
	if err := json.Unmarshal(content, e); err != nil {
		return nil, false, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, enrolmentFile), err)
	}
	if e.CA, err = LoadCA(dir); err != nil {
		return nil, false, err
	}
	if e.Client, err = OpenSource(LeafFiles(dir, clientPair)); err != nil {
		return nil, false, err
	}
	e.Serving, err = OpenSource(LeafFiles(dir, servingPair))
	return e, err == nil, err
}

// Enrol has a node let into the cluster that server is a master of, with a token, and stores what it was
// given in dir. While the master does not answer or can't decide, it tries again until ctx ends.
func Enrol(ctx context.Context, dir, server string, token Token, request JoinRequest, log *slog.Logger) (*Enrolment, error) {
	for {
		joined, err := enrolOnce(ctx, server, token, request)
		if err == nil {
			return joined.store(dir, request.Name)
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
func (j *Joined) store(dir, name string) (*Enrolment, error) {
	if err := j.CA.Save(dir); err != nil {
		return nil, err
	}
	if err := WritePair(dir, clientPair, j.Cert, j.Key); err != nil {
		return nil, err
	}
	if err := WritePair(dir, servingPair, j.ServingCert, j.ServingKey); err != nil {
		return nil, err
	}
	content, err := json.MarshalIndent(Enrolment{Name: name, ClusterID: j.Answer.ClusterID, Members: j.Answer.Members}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := WriteFile(filepath.Join(dir, enrolmentFile), append(content, '\n')); err != nil {
		return nil, err
	}
	e, _, err := LoadEnrolment(dir)
	return e, err
}
