package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ctlplane/ctlplane/raftstore"
)

// TestRemovedMasterEnds: one that was removed ran on, answered nothing, and did not say why.
func TestRemovedMasterEnds(t *testing.T) {
	var peers []raftstore.Peer
	var configs []Config
	ready := make(chan Ready, 3)
	for i := range 3 {
		peers = append(peers, raftstore.Peer{Name: fmt.Sprint("m", i+1), Address: freeAddress(t)})
		configs = append(configs, Config{
			Name: peers[i].Name, DataDir: filepath.Join(t.TempDir(), "data"), PeerAddr: peers[i].Address, ClientAddr: freeAddress(t),
			Token: "a secret of many characters", StoreOnly: true, KVInsecure: true,
			Logger: slog.New(slog.DiscardHandler), Ready: func(told Ready) { ready <- told },
		})
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make([]chan error, 3)
	run := func(i int) {
		configs[i].Peers = peers
		ended[i] = make(chan error, 1)
		go func() { ended[i] <- Run(ctx, configs[i]) }()
	}
	for i := range configs {
		run(i)
	}
	defer func() {
		cancel()
		for i := range 2 {
			if err := <-ended[i]; err != nil {
				t.Errorf("master %d: %v", i, err)
			}
		}
	}()
	for range configs {
		<-ready
	}
	conn, err := grpc.NewClient(configs[0].ClientAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cluster := pb.NewClusterClient(conn)
	list, err := cluster.MemberList(t.Context(), &pb.MemberListRequest{Linearizable: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range list.Members {
		if member.Name == configs[2].Name {
			for { // while it gets its vote, removing it may be refused
				if _, err := cluster.MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: member.ID}); err == nil {
					break
				} else if t.Context().Err() != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i, when := range []string{"while it ran", "and was started again"} {
		if i > 0 {
			run(2)
		}
		if err := <-ended[2]; !errors.Is(err, raftstore.ErrRemoved) || !strings.Contains(err.Error(), configs[2].DataDir) {
			t.Errorf("a master that was removed %s ended with %v", when, err)
		}
	}
}
