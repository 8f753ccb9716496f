package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/members"
)

// beginnings is how many clusters TestBeginningsAreSafe starts.
const beginnings = 6

// TestBeginningsAreSafe: clients write to fresh clusters from the first moment on, and once all members answer, one of them is gone
// for good. The others go on, with all that was acknowledged. The first member served alone once, before the others had a vote.
func TestBeginningsAreSafe(t *testing.T) {
	dir := runDir(t)
	run := *binary
	if run == "" {
		built, err := members.Build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		run = built
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for i := range beginnings {
		lost := 0 // the one that creates the cluster, as often as not
		if i%2 == 1 {
			lost = random.IntN(3)
		}
		t.Run(fmt.Sprintf("%d-loses-%d", i, lost+1), func(t *testing.T) {
			begin(t, members.Config{Binary: run, Dir: filepath.Join(dir, fmt.Sprint(i)), Members: 3}, lost)
		})
	}
}

func begin(t *testing.T, config members.Config, lost int) {
	cluster, err := members.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	writing, stop := context.WithCancel(ctx)
	defer stop()

	var writers, answered sync.WaitGroup
	acknowledged := make([]int, len(cluster.Members))
	for i, m := range cluster.Members {
		client, err := cluster.Connect(m)
		if err != nil {
			t.Fatal(err)
		}
		answered.Add(1)
		writers.Go(func() {
			for writing.Err() == nil {
				if _, err := client.Put(writing, fmt.Sprintf("%d/%d", i, acknowledged[i]), ""); err != nil {
					continue
				}
				if acknowledged[i]++; acknowledged[i] == 1 {
					answered.Done()
				}
			}
			if acknowledged[i] == 0 {
				answered.Done()
			}
		})
	}
	answered.Wait()
	cluster.Members[lost].Kill()
	stop()
	writers.Wait()

	for i, m := range cluster.Members {
		if acknowledged[i] == 0 {
			t.Fatalf("%s has acknowledged nothing", m.Name)
		}
		if i == lost {
			continue
		}
		client, err := cluster.Connect(m)
		if err != nil {
			t.Fatal(err)
		}
		for of, count := range acknowledged {
			for key := range count {
				answer, err := client.Get(ctx, fmt.Sprintf("%d/%d", of, key), clientv3.WithKeysOnly())
				if err != nil {
					t.Fatalf("%s, after the loss of %s: %v", m.Name, cluster.Members[lost].Name, err)
				}
				if len(answer.Kvs) != 1 {
					t.Errorf("%s has lost key %d/%d, which %s acknowledged", m.Name, of, key, cluster.Members[of].Name)
				}
			}
		}
	}
}
