package wal

import (
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// TestAgainstModel stores, deletes and reopens at random, and compares with a slice of entries.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		dir := t.TempDir()
		segmentBytes := int64(rapid.IntRange(100, 4000).Draw(r, "segment bytes"))
		l, err := openUnsynced(dir, segmentBytes)
		must(t, err)
		defer func() { must(t, l.Close()) }()
		var model []*raft.Log
		var term uint64
		ends := func() (first, last uint64) {
			if len(model) == 0 {
				return 0, 0
			}
			return model[0].Index, model[len(model)-1].Index
		}
		r.Repeat(map[string]func(*rapid.T){
			"store": func(r *rapid.T) {
				_, last := ends()
				if last == 0 {
					last = rapid.Uint64Range(0, 1<<40).Draw(r, "begin after")
				}
				term++
				logs := entries(last+1, last+rapid.Uint64Range(1, 30).Draw(r, "count"), term)
				must(t, l.StoreLogs(logs))
				model = append(model, logs...)
			},
			"delete the old end": func(r *rapid.T) {
				if len(model) < 2 {
					return
				}
				n := rapid.IntRange(1, len(model)-1).Draw(r, "count")
				must(t, l.DeleteRange(model[0].Index-rapid.Uint64Range(0, 1).Draw(r, "before"), model[n-1].Index))
				model = model[n:]
			},
			"delete the new end": func(r *rapid.T) {
				if len(model) < 2 {
					return
				}
				n := rapid.IntRange(1, len(model)-1).Draw(r, "keep")
				_, last := ends()
				must(t, l.DeleteRange(model[n].Index, last+rapid.Uint64Range(0, 1).Draw(r, "after")))
				model = model[:n]
			},
			"delete everything": func(r *rapid.T) {
				first, last := ends()
				must(t, l.DeleteRange(first, last))
				model = nil
			},
			"reopen": func(r *rapid.T) {
				must(t, l.Close())
				l, err = openUnsynced(dir, segmentBytes)
				must(t, err)
				// Entries deleted at the old end may show again: bring the log to where the model is.
				haveFirst, _ := bounds(t, l)
				if first, _ := ends(); haveFirst < first {
					must(t, l.DeleteRange(haveFirst, first-1))
				}
			},
			"": func(*rapid.T) { wantEntries(t, l, model) },
		})
	})
}
