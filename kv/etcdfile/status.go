package etcdfile

import (
	"context"
	"hash/crc32"
	"hash/maphash"
)

// Status is what can be told about a file as a whole.
type Status struct {
	// Hash is the CRC-32C of all buckets' names, keys and values, as etcdutl has it.
	Hash     uint32
	Revision int64
	Keys     int64 // living ones
	Bytes    int64 // of the database, without what may stand behind it
	Version  string
}

// Status reads the whole file. It remembers eight bytes of each living key.
func (r *Reader) Status(ctx context.Context) (Status, error) {
	s := Status{Bytes: r.bytes}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for _, name := range r.names {
		sum.Write([]byte(name))
		count := 0
		err := r.each(name, func(k, v []byte) error {
			sum.Write(k)
			sum.Write(v)
			if count++; count%1024 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		})
		if err != nil {
			return s, err
		}
	}
	s.Hash = sum.Sum32()
	contents, err := r.Contents()
	if err != nil {
		return s, err
	}
	s.Version = contents.Version
	seed, living := maphash.MakeSeed(), map[uint64]struct{}{}
	err = r.Records(func(record Record) error {
		s.Revision = record.Revision
		key := maphash.Bytes(seed, record.KV.Key)
		if record.Deleted {
			delete(living, key)
		} else {
			living[key] = struct{}{}
		}
		return ctx.Err()
	})
	s.Keys = int64(len(living))
	return s, err
}
