package raftlog

import "github.com/hashicorp/raft"

// maxCut bounds the bytes of entries that are kept when the end of the log is cut off.
const maxCut = 64 << 20

// cutEnd is the end of the log that Raft has cut off, until the next StoreLogs.
type cutEnd struct {
	from    uint64      // the first entry of it; 0: nothing was cut off
	entries []*raft.Log // all of it, or none where that is not kept
}

// end returns what is to be cut off if it is the log's end, as where Raft cuts off what another leader has other entries for; mu is
// held. Not kept are more entries than fit in memory, a configuration, as Raft goes back to the one before it when it cuts that
// off, and the whole log, which Raft empties when it has received a state.
func (w *WriteBehind) end(min, max uint64) (cutEnd, error) {
	first, err := w.LogStore.FirstIndex()
	if err != nil {
		return cutEnd{}, err
	}
	last, err := w.LogStore.LastIndex()
	if err != nil {
		return cutEnd{}, err
	}
	behind := last
	if n := len(w.queued); n > 0 {
		behind = w.queued[n-1].Index
	}
	if behind == 0 || max < behind {
		return cutEnd{}, nil
	}
	if first == 0 || min <= first {
		return cutEnd{from: min}, nil
	}
	var entries []*raft.Log
	bytes := 0
	for index := min; index <= last; index++ {
		var entry raft.Log
		if err := w.LogStore.GetLog(index, &entry); err != nil {
			return cutEnd{}, err
		}
		if bytes += len(entry.Data); bytes > maxCut {
			return cutEnd{from: min}, nil
		}
		entries = append(entries, &entry)
	}
	for _, entry := range w.queued {
		if entry.Index >= min {
			entries = append(entries, entry)
		}
	}
	if hasConfiguration(entries) {
		return cutEnd{from: min}, nil
	}
	return cutEnd{min, entries}, nil
}
