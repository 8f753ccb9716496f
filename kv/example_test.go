package kv_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// A store is changed by Raft log entries, read at any revision, and watched.
func Example() {
	store, err := kv.Open(kv.Options{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	watch := store.NewWatchStream()
	defer watch.Close()
	if _, err := watch.Watch(kv.WatchRequest{Key: []byte("greeting")}); err != nil {
		log.Fatal(err)
	}

	put := func(value string) kv.Command {
		return kv.Command{Put: &pb.PutRequest{Key: []byte("greeting"), Value: []byte(value)}}
	}
	if _, err := store.Apply([]kv.Entry{{Index: 1, Term: 1, Commands: []kv.Command{put("hello"), put("goodbye")}}}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	old, err := store.Range(ctx, &pb.RangeRequest{Key: []byte("greeting"), Revision: 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("at revision 2 of %d: %s\n", old.Header.Revision, old.Kvs[0].Value)
	for seen := 0; seen < 2; {
		events, err := watch.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range events.Events {
			fmt.Printf("%s %s = %s\n", e.Type, e.Kv.Key, e.Kv.Value)
		}
		seen += len(events.Events)
	}
	// Output:
	// at revision 2 of 3: hello
	// PUT greeting = hello
	// PUT greeting = goodbye
}
