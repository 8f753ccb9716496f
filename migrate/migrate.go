package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Config says what is moved, and to where.
type Config struct {
	// From is the etcd: its endpoints, certificates and user.
	From clientv3.Config
	// Master is the member that goes on with the data: one that has only the store, with certificates of its own or none.
	Master master.Config
	// CutOver takes the step as soon as the copy is level, rather than when it is asked for.
	CutOver bool
}

// Run moves an etcd over, and then is the member until ctx ends. On a data directory that was moved before, it is the member
// at once. When it fails before the step, the etcd is as it was, and the data directory as empty.
func Run(ctx context.Context, config Config) error {
	if config.Master.Logger == nil {
		config.Master.Logger = slog.Default()
	}
	if config.Master.Ready == nil {
		config.Master.Ready = func(master.Ready) {}
	}
	note, err := raftstore.LoadMigrated(config.Master.DataDir)
	if err != nil {
		return err
	}
	if note != nil {
		return goOn(ctx, config, *note)
	}
	if err := checkTarget(config.Master); err != nil {
		return err
	}
	source, err := Dial(config.From)
	if err != nil {
		return err
	}
	m := &migration{config: config, source: source, logger: config.Master.Logger}
	return errors.Join(m.run(ctx), source.Close())
}

// checkTarget refuses a member that can't begin a cluster with the copy.
func checkTarget(config master.Config) error {
	_, known, err := raftstore.LoadIdentity(config.DataDir)
	switch {
	case err != nil:
		return err
	case known:
		return fmt.Errorf("%s is of a member already, and was not made by a migration: choose an empty directory", config.DataDir)
	case config.Existing:
		return errors.New("a migration begins a new cluster: leave out --initial-cluster-state existing")
	case len(config.Peers) > 0 && config.Peers[0].Name != config.Name:
		return fmt.Errorf("run the migration as %[1]q, whose name sorts first: that member creates the cluster. Start %[2]q with the same --initial-cluster and without 'migrate': it waits for %[1]q",
			config.Peers[0].Name, config.Name)
	}
	return peerPortFree(config)
}

// goOn is the member of a directory that was moved before. The etcd may be gone.
func goOn(ctx context.Context, config Config, note raftstore.Migrated) error {
	logger := config.Master.Logger
	logger.Info("this directory was migrated before: --from is only watched for late writes", "revision", note.Revision)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchLate(ctx, config.From, note.Revision+1, logger)
	}()
	err := master.Run(ctx, config.Master)
	cancel()
	<-ended
	return err
}

// Phase is how far a migration has come.
type Phase string

// The phases.
const (
	Downloading Phase = "downloading the snapshot"
	Importing   Phase = "importing the snapshot"
	Following   Phase = "following"
	Moving      Phase = "moving"
	Finished    Phase = "moved"
)

// Status is what a migration tells about itself.
type Status struct {
	Phase Phase `json:"phase"`
	// Done and Total are bytes of the snapshot.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	// Revision is that of the copy; Behind is how many more the etcd had at last.
	Revision int64 `json:"revision,omitempty"`
	Behind   int64 `json:"behind"`
	Keys     int64 `json:"keys,omitempty"`
	// Ready says that the step can be taken.
	Ready bool `json:"ready"`
	// Error is why the etcd was not asked at last; the rest is as it was before.
	Error string `json:"error,omitempty"`
}

// Moved is what came of the step.
type Moved struct {
	Revision int64         `json:"revision"`
	Keys     int64         `json:"keys"`
	Leases   int           `json:"leases"`
	Held     time.Duration `json:"held"`
}
