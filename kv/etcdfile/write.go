package etcdfile

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
)

// commitBytes is how much is gathered before it is written to the file: what a Writer keeps in memory is a
// small multiple of it.
const commitBytes = 8 << 20

// Writer makes a database file. Records come first, in the order of their revisions; Finish ends it. It is for
// one goroutine.
type Writer struct {
	db    *bbolt.DB
	tx    *bbolt.Tx
	keys  *bbolt.Bucket
	bytes int
}

// Create makes the file at path, which must not exist.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	// Nobody reads the file before it is whole: Finish syncs it once.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.NoSync = true
	w := &Writer{db: db}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{
			bucketKey, bucketMeta, bucketLease, bucketAlarm, bucketCluster, bucketMembers,
			bucketMembersRemoved, bucketAuth, bucketAuthUsers, bucketAuthRoles,
		} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return w, nil
}

// Record adds a change of a key. It keeps nothing of r.
func (w *Writer) Record(r Record) error {
	if w.tx == nil {
		tx, err := w.db.Begin(true)
		if err != nil {
			return err
		}
		w.tx, w.keys = tx, tx.Bucket([]byte(bucketKey))
		// What comes is always behind what is there: no page needs room for more.
		w.keys.FillPercent = 1
	}
	value, err := proto.Marshal(r.KV)
	if err != nil {
		return err
	}
	if err := w.keys.Put(appendRevision(nil, r.Revision, r.Sub, r.Deleted), value); err != nil {
		return err
	}
	if w.bytes += len(value) + revisionLen; w.bytes < commitBytes {
		return nil
	}
	return w.commit()
}

func (w *Writer) commit() error {
	if w.tx == nil {
		return nil
	}
	tx := w.tx
	w.tx, w.keys, w.bytes = nil, nil, 0
	return tx.Commit()
}

// Finish adds what is not keys, and makes the file durable.
func (w *Writer) Finish(c *Contents) error {
	if err := w.commit(); err != nil {
		return err
	}
	return cmp.Or(w.db.Update(func(tx *bbolt.Tx) error { return c.put(tx) }), w.db.Sync(), w.close())
}

// Abort closes the file as it is.
func (w *Writer) Abort() error { return w.close() }

func (w *Writer) close() error {
	if w.tx != nil {
		_ = w.tx.Rollback() // nothing is kept
		w.tx = nil
	}
	return w.db.Close()
}

func (c *Contents) put(tx *bbolt.Tx) error {
	p := putter{tx: tx}
	p.compactions(c)
	for _, l := range c.Leases {
		key, value := l.encode()
		p.put(bucketLease, key, value)
	}
	p.auth(c)
	for _, a := range c.Alarms {
		p.message(bucketAlarm, a, nil)
	}
	p.members(c)
	p.put(bucketCluster, []byte(keyClusterVersion), []byte(StorageVersion))
	p.json(bucketCluster, keyDowngrade, map[string]any{"target-version": "", "enabled": false})
	return p.err
}

// putter puts into buckets until that fails.
type putter struct {
	tx  *bbolt.Tx
	err error
}

func (p *putter) put(bucket string, key, value []byte) {
	if p.err == nil {
		p.err = p.tx.Bucket([]byte(bucket)).Put(key, value)
	}
}

func (p *putter) number(bucket, key string, n uint64) {
	p.put(bucket, []byte(key), binary.BigEndian.AppendUint64(nil, n))
}

func (p *putter) json(bucket, key string, value any) {
	content, err := json.Marshal(value)
	if p.err = cmp.Or(p.err, err); p.err == nil {
		p.put(bucket, []byte(key), content)
	}
}

// message puts a message: under key, or as the key of nothing.
func (p *putter) message(bucket string, m proto.Message, key []byte) {
	content, err := proto.Marshal(m)
	if p.err = cmp.Or(p.err, err); p.err != nil {
		return
	}
	if key == nil {
		key, content = content, nil
	}
	p.put(bucket, key, content)
}

func (p *putter) compactions(c *Contents) {
	p.put(bucketMeta, []byte(keyStorageVersion), []byte(StorageVersion))
	p.number(bucketMeta, keyConsistentIndex, c.Index)
	p.number(bucketMeta, keyTerm, c.Term)
	if c.ScheduledCompact > 0 {
		p.put(bucketMeta, []byte(keyScheduledCompact), appendRevision(nil, c.ScheduledCompact, 0, false))
	}
	if c.FinishedCompact > 0 {
		p.put(bucketMeta, []byte(keyFinishedCompact), appendRevision(nil, c.FinishedCompact, 0, false))
	}
}

func (p *putter) auth(c *Contents) {
	enabled := []byte{0}
	if c.AuthEnabled {
		enabled[0] = 1
	}
	p.put(bucketAuth, []byte(keyAuthEnabled), enabled)
	if c.AuthRevision > 0 {
		p.number(bucketAuth, keyAuthRevision, c.AuthRevision)
	}
	for _, u := range c.Users {
		p.message(bucketAuthUsers, u, u.Name)
	}
	for _, r := range c.Roles {
		p.message(bucketAuthRoles, r, r.Name)
	}
}

func (p *putter) members(c *Contents) {
	var voters, learners []uint64
	for _, m := range c.Members {
		p.json(bucketMembers, strconv.FormatUint(m.ID, 16), memberJSON(m))
		if m.IsLearner {
			learners = append(learners, m.ID)
		} else {
			voters = append(voters, m.ID)
		}
	}
	p.json(bucketMeta, keyConfState, struct {
		Voters    []uint64 `json:"voters,omitempty"`
		Learners  []uint64 `json:"learners,omitempty"`
		AutoLeave bool     `json:"auto_leave"`
	}{voters, learners, false})
}
