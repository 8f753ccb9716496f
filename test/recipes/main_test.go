// Package recipes uses the store as programs written for etcd do, through etcd's public Go client: what its
// documentation shows, and the packages that stand on it, against three masters.
package recipes

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/cluster"
)

// patience bounds a test: it takes a fraction of it.
const patience = time.Minute

// three starts three masters, and returns a client of all of them.
func three(t *testing.T) (context.Context, *cluster.Cluster, *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := cluster.Start(t, 3, nil)
	return ctx, c, c.Connect()
}

// ok fails the test on an error, and else returns the value before it.
func ok[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
