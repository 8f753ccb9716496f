package bench

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// unary writes with one RPC a write, as etcd's clients do.
type unary struct {
	connections []*grpc.ClientConn
	keySize     int
}

func openUnary(ctx context.Context, o Options, endpoints []string) (*unary, error) {
	u := &unary{keySize: o.KeySize}
	for i := range o.Connections {
		endpoint := endpoints[i%len(endpoints)]
		conn, err := dial(endpoint, o.TLS)
		if err != nil {
			u.close()
			return nil, openError(endpoint, err)
		}
		conn.Connect()
		u.connections = append(u.connections, conn)
	}
	return u, ctx.Err()
}

func (u *unary) close() {
	for _, c := range u.connections {
		_ = c.Close()
	}
}

func (u *unary) run(ctx context.Context, m *measurement, client int, p *payload) {
	kv := pb.NewKVClient(u.connections[client%len(u.connections)])
	req := &pb.PutRequest{Key: make([]byte, u.keySize)}
	for m.running() && ctx.Err() == nil {
		p.key(req.Key)
		req.Value = p.value()
		sent := time.Now()
		_, err := kv.Put(ctx, req)
		m.record(client, sent, time.Now(), err)
		if err != nil {
			pause(m)
		}
	}
}
