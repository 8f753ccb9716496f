package traffic

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const (
	// patience is how long a client waits for an answer: longer than any fault lasts, so that what comes late is seen.
	patience = 12 * time.Second
	// afterFailure is the pause after a request that failed.
	afterFailure = 30 * time.Millisecond
	// maxAnswer bounds what a client receives in a message.
	maxAnswer = 256 << 20
)

// Target is a member to ask.
type Target struct {
	Number  int
	Address string
	// Life is the number of the run of the member's process.
	Life func() int64
}

// client asks one member over a connection of its own. Nothing is asked twice behind its back.
type client struct {
	number  int
	target  Target
	history *History
	random  *rand.Rand
	conn    *grpc.ClientConn
	kv      pb.KVClient
	written int
	// known are the revisions at which the client has seen keys.
	known map[string]int64

	mu     sync.Mutex
	ops    []*Op
	newest int64 // the last revision that it saw
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}))
}

func newClient(number int, target Target, h *History, seed uint64) (*client, error) {
	conn, err := dial(target.Address)
	if err != nil {
		return nil, err
	}
	return &client{
		number: number, target: target, history: h, random: rand.New(rand.NewPCG(seed, uint64(number))),
		conn: conn, kv: pb.NewKVClient(conn), known: map[string]int64{},
	}, nil
}

// close ends the client and hands over what it recorded.
func (c *client) close() {
	_ = c.conn.Close() // nothing is asked any more
	c.history.add(c.ops...)
}

// record makes a request and keeps what came of it.
func record[T proto.Message](ctx context.Context, c *client, request proto.Message, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	life := c.target.Life()
	o := &Op{Client: c.number, Member: c.target.Number, Life: life, Call: c.history.Now(), Request: request}
	response, err := ask(ctx)
	o.Return = c.history.Now()
	if c.target.Life() != life {
		o.Life = -1
	}
	if o.Err = err; err == nil {
		o.Response = response
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = max(c.newest, o.Revision())
	c.ops = append(c.ops, o)
	return response, err
}

// pause waits for about a mean time; false: ctx has ended.
func (c *client) pause(ctx context.Context, mean time.Duration) bool {
	select {
	case <-time.After(time.Duration(c.random.ExpFloat64() * float64(mean))):
		return true
	case <-ctx.Done():
		return false
	}
}
