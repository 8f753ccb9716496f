package traffic

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Config is the traffic of a round.
type Config struct {
	Targets []Target
	Prefix  string
	Seed    uint64
	// Many is how many keys are deleted in one revision now and then; 0: none.
	Many int
	// Connect makes a client of etcd's own library.
	Connect func(endpoints []string) (*clientv3.Client, error)
}

// Name is how a member is called.
func (t Target) Name() string { return fmt.Sprintf("m%d", t.Number+1) }

// Traffic is the traffic of a round that goes on.
type Traffic struct {
	config   Config
	history  *History
	clients  []*clientv3.Client
	conns    []*grpc.ClientConn
	recorder *Watch
	last     end

	stop                        context.CancelFunc
	ctx                         context.Context // of the watches
	cancel                      context.CancelFunc
	asking, watching, reminding sync.WaitGroup
}

// keyClients is how many clients each member has that read and write keys.
const keyClients = 4

// Start begins a round's traffic at a cluster that serves. start is a revision that it has already.
func Start(config Config, start int64) (*Traffic, error) {
	t := &Traffic{config: config, history: &History{Prefix: config.Prefix, Begun: time.Now(), Start: start, Many: config.Many}, last: end{known: make(chan struct{})}}
	if err := t.addWatches(); err != nil {
		return nil, err
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for _, w := range t.history.Watches {
		t.watching.Go(func() { w.follow(t.ctx, t.history, &t.last) })
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.reminding.Go(func() { t.askProgress(t.ctx) })
	number := 0
	use := func(target Target, how func(*client, context.Context)) error {
		c, err := newClient(number, target, t.history, config.Seed)
		if err != nil {
			return err
		}
		number++
		t.asking.Go(func() {
			defer c.close()
			how(c, ctx)
		})
		return nil
	}
	for i, target := range config.Targets {
		elsewhere, err := dial(config.Targets[(i+1)%len(config.Targets)].Address)
		if err != nil {
			stop()
			return nil, err
		}
		t.conns = append(t.conns, elsewhere)
		useLeases := func(c *client, ctx context.Context) { c.useLeases(ctx, pb.NewLeaseClient(elsewhere)) }
		uses := []func(*client, context.Context){useLeases, useLeases, (*client).save, (*client).list, (*client).readOften}
		for range keyClients {
			uses = append(uses, (*client).useKeys)
		}
		if i == 0 && config.Many > 0 {
			uses = append(uses, (*client).fill)
		}
		uses = append(uses, func(c *client, ctx context.Context) { c.compact(ctx, t.recorder.seen.Load) })
		for _, how := range uses {
			if err := use(target, how); err != nil {
				stop()
				return nil, err
			}
		}
	}
	return t, nil
}

// askProgress asks all streams of watches how far they are, time and again. So each comes to the last revision, whatever it wants.
func (t *Traffic) askProgress(ctx context.Context) {
	ticker := time.NewTicker(30 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ticker.C:
			asking, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			t.history.Watches[i%len(t.history.Watches)].requestProgress(asking)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// Stop has no more requests made, and waits for those that are on their way.
func (t *Traffic) Stop() {
	t.stop()
	t.asking.Wait()
	for _, conn := range t.conns {
		_ = conn.Close() // nothing is asked any more
	}
}

// Finish waits until all watches have seen the last write, at revision last, and returns what was seen.
func (t *Traffic) Finish(last int64, patience time.Duration) (*History, error) {
	t.history.Last = last
	t.last.revision = last
	close(t.last.known)
	ended := make(chan struct{})
	go func() {
		t.watching.Wait()
		close(ended)
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var err error
	select {
	case <-ended:
	case <-timeout.C:
		var late []string
		for _, w := range t.history.Watches {
			if seen := w.seen.Load(); seen < last {
				late = append(late, fmt.Sprintf("%s is at %d", w.Name, seen))
			}
		}
		err = fmt.Errorf("%v after the last write, at revision %d, these watches have not come to it: %s", patience, last, strings.Join(late, "; "))
	}
	t.cancel()
	t.reminding.Wait()
	for _, c := range t.clients {
		_ = c.Close() // its watches have ended
	}
	<-ended
	t.history.Sort()
	return t.history, err
}
