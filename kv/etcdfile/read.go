package etcdfile

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv/bboltfile"
)

// ErrFormat is wrapped by all errors that say that the content is not a whole etcd database.
var ErrFormat = errors.New("not a whole etcd database")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Reader reads a database file. It holds no resources of its own.
type Reader struct {
	buckets map[string]*bboltfile.Bucket
	names   []string // in the order of the file
	bytes   int64
}

// NewReader reads what buckets there are in the first size bytes of source: a checksum behind the database
// must be left out.
func NewReader(source io.ReaderAt, size int64) (*Reader, error) {
	file, err := bboltfile.Open(source, size)
	if err != nil {
		return nil, err
	}
	r := &Reader{buckets: map[string]*bboltfile.Bucket{}, bytes: file.Bytes()}
	err = file.Buckets(func(name []byte, b *bboltfile.Bucket) error {
		r.buckets[string(name)], r.names = b, append(r.names, string(name))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{bucketKey, bucketMeta} {
		if r.buckets[name] == nil {
			return nil, damaged("it has no bucket %q", name)
		}
	}
	return r, nil
}

func (r *Reader) each(bucket string, visit func(k, v []byte) error) error {
	b := r.buckets[bucket]
	if b == nil {
		return nil
	}
	err := b.Each(visit)
	if err != nil {
		return fmt.Errorf("bucket %q: %w", bucket, err)
	}
	return nil
}

// Records calls visit for each change of a key, in the order of the revisions. Nothing of a record aliases the
// file. A record that etcdutl wrote to raise the revision has an empty key.
func (r *Reader) Records(visit func(Record) error) error {
	return r.each(bucketKey, func(k, v []byte) error {
		main, sub, deleted, ok := parseRevision(k)
		if !ok {
			return damaged("%x is no revision", k)
		}
		record := Record{Revision: main, Sub: sub, Deleted: deleted, KV: &mvccpb.KeyValue{}}
		if err := proto.Unmarshal(v, record.KV); err != nil {
			return damaged("the key-value of revision %d can't be read: %v", main, err)
		}
		if err := record.Check(); err != nil {
			return err
		}
		return visit(record)
	})
}

// Check refuses what no etcd would have written.
func (r Record) Check() error {
	switch kv := r.KV; {
	case len(kv.Key) == 0:
		if len(kv.Value) != 0 || kv.Version != 0 {
			return damaged("revision %d puts the empty key", r.Revision)
		}
	case r.Deleted:
	case kv.ModRevision != r.Revision || kv.CreateRevision < 1 || kv.CreateRevision > r.Revision || kv.Version < 1:
		return damaged("the key of revision %d says revision %d, created at %d, version %d",
			r.Revision, kv.ModRevision, kv.CreateRevision, kv.Version)
	}
	return nil
}

// Contents reads everything but the keys.
func (r *Reader) Contents() (*Contents, error) {
	c := &Contents{}
	for bucket, visit := range map[string]func(k, v []byte) error{
		bucketMeta:      c.meta,
		bucketLease:     c.lease,
		bucketAuth:      c.auth,
		bucketAuthUsers: c.user,
		bucketAuthRoles: c.role,
		bucketAlarm:     c.alarm,
		bucketMembers:   c.member,
	} {
		if err := r.each(bucket, visit); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Contents) meta(k, v []byte) error {
	switch string(k) {
	case keyScheduledCompact:
		return compaction(&c.ScheduledCompact, v)
	case keyFinishedCompact:
		return compaction(&c.FinishedCompact, v)
	case keyConsistentIndex:
		return number(&c.Index, k, v)
	case keyTerm:
		return number(&c.Term, k, v)
	case keyStorageVersion:
		c.Version = string(v)
	}
	return nil
}

func compaction(to *int64, v []byte) error {
	main, _, _, ok := parseRevision(v)
	if !ok {
		return damaged("%x is no compaction revision", v)
	}
	*to = main
	return nil
}

func number(to *uint64, k, v []byte) error {
	if len(v) != 8 {
		return damaged("%s has %d bytes", k, len(v))
	}
	*to = binary.BigEndian.Uint64(v)
	return nil
}

func (c *Contents) lease(k, v []byte) error {
	l, ok := decodeLease(k, v)
	if !ok {
		return damaged("the record of lease %x can't be read", k)
	}
	c.Leases = append(c.Leases, l)
	return nil
}

func (c *Contents) auth(k, v []byte) error {
	switch string(k) {
	case keyAuthEnabled:
		c.AuthEnabled = len(v) == 1 && v[0] == 1
	case keyAuthRevision:
		return number(&c.AuthRevision, k, v)
	}
	return nil
}

func (c *Contents) user(k, v []byte) error {
	u := &authpb.User{}
	if err := proto.Unmarshal(v, u); err != nil || string(u.Name) != string(k) {
		return damaged("the record of user %q can't be read", k)
	}
	c.Users = append(c.Users, u)
	return nil
}

func (c *Contents) role(k, v []byte) error {
	r := &authpb.Role{}
	if err := proto.Unmarshal(v, r); err != nil || string(r.Name) != string(k) {
		return damaged("the record of role %q can't be read", k)
	}
	c.Roles = append(c.Roles, r)
	return nil
}

func (c *Contents) alarm(k, _ []byte) error {
	a := &pb.AlarmMember{}
	if err := proto.Unmarshal(k, a); err != nil {
		return damaged("an alarm can't be read")
	}
	c.Alarms = append(c.Alarms, a)
	return nil
}

func (c *Contents) member(k, v []byte) error {
	var m memberJSON
	if err := json.Unmarshal(v, &m); err != nil {
		return damaged("the record of member %q can't be read", k)
	}
	c.Members = append(c.Members, Member(m))
	return nil
}

// memberJSON is a member as etcd writes it.
type memberJSON struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}
