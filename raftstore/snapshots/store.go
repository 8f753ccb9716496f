// Package snapshots is where a member keeps Raft's snapshots: how far its state is durable, so that the log may be cut there, and
// states that other members send, or are sent.
//
// "Snapshot" here means Raft's, and nothing else: a copy for users is a backup (raftstore.Backup), and a copy of the files on
// the same disk a checkpoint. Raft calls a Store from several goroutines; a Sink is for one.
package snapshots

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/raftstore/archive"
	"github.com/ctlplane/ctlplane/raftstore/disk"
)

const (
	metaFile   = "meta.json"
	contentDir = "data"
	tempSuffix = ".tmp"
)

// Store is Raft's snapshot store over a state machine that is durable by itself.
//
// A snapshot of the member's own is a note, "the state is durable up to this index": the log may be cut
// there. Its content is taken when another member asks for it, as a checkpoint of the live state. That
// holds more than the note says, which does no harm, for the state machine knows its own applied index
// and skips the entries that it has.
//
// A snapshot that is received holds its content until the state machine has taken it over.
//
// Invariants:
//  1. A complete snapshot is a directory named by its id that has a meta.json. Anything else but the spare is a leftover.
//  2. The live state is durable up to the index of every complete snapshot that has no data.
//  3. At most the newest snapshot has data; on start, its data is taken over before the state is opened.
type Store struct {
	dir     string
	options Options
}

// Options are what a store is given.
type Options struct {
	// Checkpoint writes the live state into a directory that does not exist yet. It is called once another member asks.
	Checkpoint func(dir string) error
	// OnSaved is told how long it took to make the state durable, and OnReceived how long until a state was here, and durable,
	// that another member sent; nil: nobody is.
	OnSaved, OnReceived func(took time.Duration)
}

// Open opens that of a data directory, and removes leftovers.
func Open(dataDir string, options Options) (*Store, error) {
	s := &Store{dir: filepath.Join(dataDir, "snapshots"), options: options}
	if err := durable.MakeDir(s.dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if _, err := s.meta(entry.Name()); err == nil || entry.Name() == spareDir {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	s.makeSpare()
	return s, nil
}

// MakeTemp makes a directory for work that is under way. If that is cut off, the next start removes it.
func (s *Store) MakeTemp(work string) (dir string, err error) {
	return os.MkdirTemp(s.dir, work+"-*"+tempSuffix)
}

// Newest returns the newest snapshot, nil when there is none.
func (s *Store) Newest() (*raft.SnapshotMeta, error) {
	all, err := s.List()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// Received is where a snapshot's data lies that was received and not taken over yet.
func (s *Store) Received(id string) (dir string, ok bool) {
	dir = filepath.Join(s.dir, id, contentDir)
	_, err := os.Stat(dir)
	return dir, err == nil
}

func (s *Store) meta(id string) (*raft.SnapshotMeta, error) {
	content, err := os.ReadFile(filepath.Join(s.dir, id, metaFile))
	if err != nil {
		return nil, err
	}
	meta := &raft.SnapshotMeta{}
	if err := json.Unmarshal(content, meta); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	if meta.ID != id { // being made, in a directory that is still to get its name
		return nil, fmt.Errorf("snapshot %s: %w", id, fs.ErrNotExist)
	}
	return meta, nil
}

// List implements raft.SnapshotStore: newest first.
func (s *Store) List() ([]*raft.SnapshotMeta, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []*raft.SnapshotMeta
	for _, entry := range entries {
		meta, err := s.meta(entry.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // being written, or being removed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, meta)
	}
	slices.SortFunc(all, func(a, b *raft.SnapshotMeta) int {
		if a.Index != b.Index {
			return int(int64(b.Index) - int64(a.Index))
		}
		return strings.Compare(b.ID, a.ID)
	})
	return all, nil
}

// Open implements raft.SnapshotStore. The reader of a received snapshot is only good for restoring it
// (see statemachine.Machine.Restore); any other's is a checkpoint of the live state, removed when it is closed.
func (s *Store) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, err := s.meta(id)
	if err != nil {
		return nil, nil, err
	}
	if dir, ok := s.Received(id); ok {
		return meta, &Received{Dir: dir}, nil
	}
	temp, err := s.MakeTemp("sending")
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(temp, contentDir)
	if err := s.options.Checkpoint(dir); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(temp))
	}
	packed, err := archive.NewReader(dir, nil)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(temp))
	}
	meta.Size = packed.Size()
	return meta, &sent{Reader: packed, temp: temp}, nil
}

// sent is a checkpoint on its way to another member.
type sent struct {
	*archive.Reader
	temp string
}

func (s *sent) Close() error {
	return errors.Join(s.Reader.Close(), os.RemoveAll(s.temp))
}

// Received is data that lies unpacked in a directory.
type Received struct{ Dir string }

func (*Received) Read([]byte) (int, error) { return 0, io.EOF }
func (*Received) Close() error             { return nil }

// Create implements raft.SnapshotStore. A sink that nothing is written to becomes a note on the live
// state; one that an archive is written to becomes a received snapshot.
func (s *Store) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	temp, err := s.MakeTemp("new")
	if disk.IsFull(err) {
		temp, err = filepath.Join(s.dir, fmt.Sprintf("new-%d%s", rand.Uint32(), tempSuffix)), nil // which Close makes, of the spare if need be
	}
	if err != nil {
		return nil, err
	}
	return &Sink{store: s, temp: temp, begun: time.Now(), meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%016x-%016x-%s", term, index, uniqueSuffix(temp)),
		Index: index, Term: term, Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// uniqueSuffix is what tells a directory that a snapshot is made in from others.
func uniqueSuffix(temp string) string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(temp), "new-"), tempSuffix)
}

// Sink writes a snapshot. It is not safe for concurrent use.
type Sink struct {
	store *Store
	temp  string // is not there yet if the disk was full
	meta  raft.SnapshotMeta
	begun time.Time
	ended bool

	archive  *io.PipeWriter // nil until the first byte
	unpacked chan error
}

// Index is that of the last entry in it.
func (k *Sink) Index() uint64 { return k.meta.Index }

// ID implements raft.SnapshotSink.
func (k *Sink) ID() string { return k.meta.ID }

// Write unpacks an archive as it comes in.
func (k *Sink) Write(p []byte) (int, error) {
	if k.archive == nil {
		reader, writer := io.Pipe()
		k.archive, k.unpacked = writer, make(chan error, 1)
		go func() {
			err := archive.Unpack(reader, filepath.Join(k.temp, contentDir))
			reader.CloseWithError(errors.Join(err, errors.New("snapshot: bytes after its end")))
			k.unpacked <- err
		}()
	}
	n, err := k.archive.Write(p)
	k.meta.Size += int64(n)
	return n, err
}

// endArchive waits until what was written is unpacked.
func (k *Sink) endArchive(cause error) error {
	if k.archive == nil {
		return nil
	}
	_ = k.archive.CloseWithError(cause) // nil: the archive's end
	return <-k.unpacked
}

// Close makes the snapshot complete and durable, and forgets the ones before it.
func (k *Sink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := k.endArchive(nil); err != nil {
		return errors.Join(err, os.RemoveAll(k.temp))
	}
	err := k.writeMeta()
	if err == nil {
		err = durable.Rename(k.temp, filepath.Join(k.store.dir, k.meta.ID))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(k.temp))
	}
	tell := k.store.options.OnSaved
	if k.archive != nil {
		tell = k.store.options.OnReceived // takes as long as the network does
	}
	if tell != nil {
		tell(time.Since(k.begun))
	}
	err = k.store.removeOlder(k.meta.ID)
	k.store.makeSpare()
	return err
}

func (k *Sink) writeMeta() error {
	content, err := json.Marshal(k.meta)
	if err != nil {
		return err
	}
	err = durable.WriteFile(filepath.Join(k.temp, metaFile), content)
	if !disk.IsFull(err) || k.archive != nil { // one that was received is sent again, when there is room for more
		return err
	}
	// Not before it is known that the state is durable: the spare is gone with a snapshot that comes to nothing.
	if err := errors.Join(os.RemoveAll(k.temp), k.store.takeSpare(k.temp, err)); err != nil {
		return err
	}
	return writeSpare(k.temp, content)
}

// Cancel implements raft.SnapshotSink.
func (k *Sink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	_ = k.endArchive(errors.New("snapshot: cancelled"))
	return os.RemoveAll(k.temp)
}

func (s *Store) removeOlder(keep string) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	for _, meta := range all {
		if meta.ID == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, meta.ID)); err != nil {
			return err
		}
	}
	return nil
}
