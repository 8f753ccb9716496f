// Package differential holds tests that ask the store and a real etcd the same, over the wire, and expect the same answers
// to the letter: revisions, counts, keys, events, and errors with their codes and texts.
package differential
