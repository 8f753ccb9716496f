package raftstore

import (
	"bytes"
	"testing"

	"github.com/ctlplane/ctlplane/kv"
)

func TestEntryRoundTrip(t *testing.T) {
	for _, rules := range []kv.Rules{0, 1, 300} {
		entry := newEntryBy(rules, 0)
		if rules == 0 && !bytes.Equal(entry, newEntry(0)) {
			t.Errorf("an entry without rules begins with %v", entry)
		}
		for _, key := range []string{"a", "b", "c"} {
			command := putCommand(key, "value")
			encoded, err := command.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			entry = appendEntry(entry, encoded)
		}
		commands, by, err := decodeEntry(entry)
		if err != nil || len(commands) != 3 || string(commands[2].Put.Key) != "c" || by != rules {
			t.Errorf("rules %d: %v, %v, %v", rules, commands, by, err)
		}
		if commands, by, err := decodeEntry(newEntryBy(rules, 0)); err != nil || len(commands) != 0 || by != rules {
			t.Errorf("rules %d: a barrier: %v, %v, %v", rules, commands, by, err)
		}
		for _, bad := range [][]byte{nil, {9}, {1, 5, 1}, {2}, {2, 0xff}, entry[:len(entry)-1]} {
			if _, _, err := decodeEntry(bad); err == nil {
				t.Errorf("%v is taken for an entry", bad)
			}
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	command := kv.Command{Put: putCommand("key", "value").Put}
	encoded, err := command.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendEntry(newEntry(0), encoded))
	f.Add(appendEntry(newEntryBy(7, 0), encoded))
	f.Fuzz(func(t *testing.T, entry []byte) {
		_, _, _ = decodeEntry(entry)
	})
}
