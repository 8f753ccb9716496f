package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

const identityFile = "member.json"

// Identity is who a member is. The ids are for life; a machine that joins again gets a new one.
type Identity struct {
	ClusterID uint64 `json:"clusterId,string"`
	MemberID  uint64 `json:"memberId,string"`
	Name      string `json:"name"`
	// PeerAddress is where the other members reach this one, ClientAddress and APIAddress where clients
	// do; each is host:port, and PeerAddress may be unix://path (see pki.PeerNetwork).
	PeerAddress   string `json:"peerAddress"`
	ClientAddress string `json:"clientAddress,omitempty"`
	APIAddress    string `json:"apiAddress,omitempty"`
	// PeerURLs and ClientURLs are what is told of these addresses where it is more, or spelled otherwise.
	PeerURLs   []string `json:"peerUrls,omitempty"`
	ClientURLs []string `json:"clientUrls,omitempty"`
	// ClientInsecure says that the client port is in plain text.
	ClientInsecure bool `json:"clientInsecure,omitempty"`
	// Creator is set on the member that the group began with: it makes the group when it has no log yet.
	Creator bool `json:"creator,omitempty"`
	// Founders is how many masters the cluster is to begin with, until this one need not wait for that; see forming.
	Founders int `json:"founders,omitempty"`
}

// LoadIdentity reads who the data directory's member is. ok is false for a directory that has none.
func LoadIdentity(dataDir string) (identity Identity, ok bool, err error) {
	path := filepath.Join(dataDir, identityFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, false, nil
	}
	if err != nil {
		return Identity{}, false, err
	}
	if err := json.Unmarshal(content, &identity); err != nil {
		return Identity{}, false, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return identity, true, nil
}

func (i Identity) save(dataDir string) error {
	content, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dataDir, identityFile), append(content, '\n'))
}

// noteIdentity changes what the data directory says of this member, which its next start goes by.
func (m *Member) noteIdentity(change func(*Identity)) error {
	m.noting.Lock()
	defer m.noting.Unlock()
	identity, _, err := LoadIdentity(m.config.DataDir)
	if err != nil {
		return err
	}
	change(&identity)
	return identity.save(m.config.DataDir)
}

// claim checks that the directory is this member's, or fresh, and notes whose it is.
func (i Identity) claim(dataDir string) error {
	stored, used, err := LoadIdentity(dataDir)
	if err != nil {
		return err
	}
	if used && (stored.ClusterID != i.ClusterID || stored.MemberID != i.MemberID) {
		return fmt.Errorf("%w: %s is of member %q (%x) of cluster %x", ErrOtherCluster,
			dataDir, stored.Name, stored.MemberID, stored.ClusterID)
	}
	if reflect.DeepEqual(stored, i) {
		return nil
	}
	return i.save(dataDir)
}

// record is the replicated form.
func (i Identity) record() kv.Member {
	record := kv.Member{
		ID: i.MemberID, Name: i.Name,
		PeerURLs: membership.URLs("https", i.PeerAddress), ClientURLs: membership.URLs(i.clientScheme(), i.ClientAddress), APIURLs: membership.URLs("https", i.APIAddress),
	}
	if len(i.PeerURLs) > 0 {
		record.PeerURLs = i.PeerURLs
	}
	if len(i.ClientURLs) > 0 {
		record.ClientURLs = i.ClientURLs
	}
	return record
}

func (i Identity) clientScheme() string {
	if i.ClientInsecure {
		return "http"
	}
	return "https"
}

// lockDir keeps other processes out of the data directory until the file is closed.
func lockDir(dataDir string) (*os.File, error) {
	if err := durable.MakeDir(dataDir); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dataDir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dataDir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", dataDir, err)
	}
	return file, nil
}
