package entry

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// decodeAll reads the commands of an entry, and the rules by which they are checked.
func decodeAll(entry []byte) ([]kv.Command, kv.Rules, error) {
	rules, rest, err := Split(entry)
	if err != nil {
		return nil, 0, err
	}
	commands, err := Decode(rest)
	return commands, rules, err
}

func put(key, value string) kv.Command {
	return kv.Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func TestEntryRoundTrip(t *testing.T) {
	for _, rules := range []kv.Rules{0, 1, 300} {
		entry := NewBy(rules, 0)
		if rules == 0 && !bytes.Equal(entry, New(0)) {
			t.Errorf("an entry without rules begins with %v", entry)
		}
		for _, key := range []string{"a", "b", "c"} {
			command := put(key, "value")
			encoded, err := command.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			entry = Append(entry, encoded)
		}
		commands, by, err := decodeAll(entry)
		if err != nil || len(commands) != 3 || string(commands[2].Put.Key) != "c" || by != rules {
			t.Errorf("rules %d: %v, %v, %v", rules, commands, by, err)
		}
		if commands, by, err := decodeAll(NewBy(rules, 0)); err != nil || len(commands) != 0 || by != rules {
			t.Errorf("rules %d: a barrier: %v, %v, %v", rules, commands, by, err)
		}
		for _, bad := range [][]byte{nil, {9}, {1, 5, 1}, {2}, {2, 0xff}, entry[:len(entry)-1]} {
			if _, _, err := decodeAll(bad); err == nil {
				t.Errorf("%v is taken for an entry", bad)
			}
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	command := kv.Command{Put: put("key", "value").Put}
	encoded, err := command.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Append(New(0), encoded))
	f.Add(Append(NewBy(7, 0), encoded))
	f.Fuzz(func(t *testing.T, entry []byte) {
		_, _, _ = decodeAll(entry)
	})
}
