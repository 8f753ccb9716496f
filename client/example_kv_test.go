package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/client"
)

// Connecting to a cluster that was started with --kv-insecure; with TLS, Config.TLS takes the place of Insecure.
func ExampleConnect() {
	c, err := client.Connect(context.Background(), client.Config{
		Endpoints:   []string{"10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"},
		Insecure:    true,
		DialTimeout: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// Keys are read, written and watched with etcd's own client.
func ExampleClient_KV() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Config{Endpoints: []string{"127.0.0.1:2379"}, Insecure: true})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	put, err := c.KV().Put(ctx, "colours/sky", "blue")
	if err != nil {
		log.Fatal(err)
	}
	for r := range c.KV().Watch(ctx, "colours/", clientv3.WithPrefix(), clientv3.WithRev(put.Header.Revision)) {
		if err := r.Err(); err != nil {
			log.Fatal(err)
		}
		for _, e := range r.Events {
			fmt.Printf("%s %s = %s\n", e.Type, e.Kv.Key, e.Kv.Value)
		}
	}
}

// Many writes are under way at once; each has its own outcome.
func ExampleClient_Pipeline() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Config{Endpoints: []string{"127.0.0.1:2379"}, Insecure: true})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	p, err := c.Pipeline(ctx)
	if err != nil {
		log.Fatal(err)
	}

	var pending []*client.Pending
	for i := range 10_000 {
		pending = append(pending, p.Put(fmt.Appendf(nil, "numbers/%05d", i), []byte("…")))
	}
	for i, write := range pending {
		_, err := write.Wait(ctx)
		switch {
		case errors.Is(err, client.ErrOutcomeUnknown):
			fmt.Println("write", i, "may have been made: read the key to find out")
		case err != nil:
			fmt.Println("write", i, "was refused:", err)
		}
	}
	if err := p.Close(); err != nil {
		log.Fatal(err)
	}
}
