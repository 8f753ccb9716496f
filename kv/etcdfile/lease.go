package etcdfile

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// encode makes etcd's leasepb.Lease, whose package belongs to etcd's server.
func (l Lease) encode() (key, value []byte) {
	key = binary.BigEndian.AppendUint64(nil, uint64(l.ID))
	for i, v := range []int64{l.ID, l.TTL, l.Remaining} {
		if v != 0 {
			value = protowire.AppendTag(value, protowire.Number(i+1), protowire.VarintType)
			value = protowire.AppendVarint(value, uint64(v))
		}
	}
	return key, value
}

func decodeLease(key, value []byte) (Lease, bool) {
	var l Lease
	for len(value) > 0 {
		number, kind, n := protowire.ConsumeTag(value)
		if n < 0 {
			return l, false
		}
		value = value[n:]
		if number > 3 || kind != protowire.VarintType {
			if n = protowire.ConsumeFieldValue(number, kind, value); n < 0 {
				return l, false
			}
			value = value[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(value)
		if n < 0 {
			return l, false
		}
		*[]*int64{&l.ID, &l.TTL, &l.Remaining}[number-1] = int64(v)
		value = value[n:]
	}
	return l, len(key) == 8 && int64(binary.BigEndian.Uint64(key)) == l.ID && l.ID != 0
}
