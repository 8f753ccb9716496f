package raftstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// registerInput is one operation on one key: a read, a write, or a write guarded by the value before.
type registerInput struct {
	key      string
	write    bool
	value    string
	guarded  bool
	expected string
}

type registerOutput struct {
	value   string // read
	swapped bool   // of a guarded write
	unknown bool
}

// register is a key of the store, as a client sees it.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(registerInput).key
			keys[key] = append(keys[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range keys {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out, value := input.(registerInput), output.(registerOutput), state.(string)
		switch {
		case !in.write:
			return out.unknown || out.value == value, value
		case !in.guarded:
			return true, in.value
		case out.unknown && in.expected == value:
			return true, in.value
		case out.unknown:
			return true, value
		case out.swapped:
			return in.expected == value, in.value
		default:
			return in.expected != value, value
		}
	},
}

// TestLinearizability has clients at all members read and write a few keys while leaders come and go, and
// checks that there is one order of all operations which explains what each saw.
func TestLinearizability(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	ctx, stop := context.WithCancel(t.Context())
	clients := make([]history, 9)
	var wg sync.WaitGroup
	var done atomic.Int64
	begun := time.Now()
	for i := range clients {
		m := c.members[i%3].Member
		wg.Go(func() { clients[i].run(ctx, i, m, begun, &done) })
	}
	for range 3 {
		enough := done.Load() + 500
		eventually(t, "operations between faults", func() bool { return done.Load() >= enough })
		leader := c.leader()
		if err := leader.raft.LeadershipTransfer().Error(); err != nil {
			t.Logf("transfer: %v", err)
		}
		heal := c.leader().partition()
		eventually(t, "a leader on the other side", func() bool {
			for _, m := range c.members {
				if s := m.Status(); s.Leader == s.ID && !m.stream.IsClosed() {
					return true
				}
			}
			return false
		})
		heal()
		c.leader()
	}
	stop()
	wg.Wait()
	var all []porcupine.Operation
	for i := range clients {
		all = append(all, clients[i].operations...)
	}
	result := porcupine.CheckOperationsTimeout(register, all, time.Minute)
	if result != porcupine.Ok {
		t.Fatalf("%d operations: %v", len(all), result)
	}
	t.Logf("%d operations, linearizable", len(all))
}

// history is what one client did.
type history struct {
	operations []porcupine.Operation
}

func (h *history) run(ctx context.Context, client int, m *Member, begun time.Time, done *atomic.Int64) {
	last := ""
	for i := 0; ctx.Err() == nil && i < 5000; i++ {
		in := registerInput{key: fmt.Sprint("key", rand.IntN(3)), write: rand.IntN(2) == 0, value: fmt.Sprintf("%d-%d", client, i)}
		if in.write && rand.IntN(2) == 0 {
			in.guarded, in.expected = true, last
		}
		called := time.Since(begun).Nanoseconds()
		out, err := registerOutput{}, error(nil)
		if in.write {
			out, err = write(ctx, m, in)
		} else {
			out, err = readRegister(ctx, m, in)
			last = out.value
		}
		returned := time.Since(begun).Nanoseconds()
		if err != nil {
			if !in.write || errors.Is(err, ErrNoLeader) || errors.Is(err, ErrTooManyRequests) {
				continue // it changed nothing
			}
			// It may take effect at any later time.
			out, returned = registerOutput{unknown: true}, time.Hour.Nanoseconds()
		}
		done.Add(1)
		h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: called, Return: returned})
	}
}

func write(ctx context.Context, m *Member, in registerInput) (registerOutput, error) {
	put := &pb.PutRequest{Key: []byte(in.key), Value: []byte(in.value)}
	if !in.guarded {
		_, err := m.Put(ctx, put)
		return registerOutput{}, err
	}
	compare := &pb.Compare{Key: put.Key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(in.expected)}}
	if in.expected == "" {
		compare = &pb.Compare{Key: put.Key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}
	}
	r, err := m.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{compare},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	})
	return registerOutput{swapped: r.GetSucceeded()}, err
}

func readRegister(ctx context.Context, m *Member, in registerInput) (registerOutput, error) {
	r, err := m.Range(ctx, &pb.RangeRequest{Key: []byte(in.key)})
	if err != nil || len(r.Kvs) == 0 {
		return registerOutput{}, err
	}
	return registerOutput{value: string(r.Kvs[0].Value)}, nil
}
