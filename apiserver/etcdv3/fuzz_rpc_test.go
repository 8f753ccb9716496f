package etcdv3

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// rawCodec sends and receives messages as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = slices.Clone(b)
	return nil
}

func (rawCodec) Name() string { return "proto" }

// fuzzPatience bounds one call: watches have no end of their own.
const fuzzPatience = 50 * time.Millisecond

// fuzzed are etcd's services that do not wait for others by their nature, as locks do.
var fuzzed = []string{
	pb.KV_ServiceDesc.ServiceName, pb.Watch_ServiceDesc.ServiceName, pb.Lease_ServiceDesc.ServiceName,
	pb.Cluster_ServiceDesc.ServiceName, pb.Maintenance_ServiceDesc.ServiceName, pb.Auth_ServiceDesc.ServiceName,
}

// FuzzRPC sends any of their RPCs any bytes, over the wire. Afterwards the store still answers and, however it does, everything that it
// says it has can be read: nothing was applied in part.
func FuzzRPC(f *testing.F) {
	b := newMemoryBackend(f)
	address := serve(f, b, ServerConfig{}, Options{})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	var methods []string
	srv := grpc.NewServer()
	Register(srv, b, Options{})
	for service, info := range srv.GetServiceInfo() {
		if !slices.Contains(fuzzed, service) {
			continue
		}
		for _, m := range info.Methods {
			methods = append(methods, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(methods)
	for i := range methods {
		f.Add(uint8(i), []byte{})
		for _, seed := range fuzzSeeds {
			encoded, err := proto.Marshal(seed)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), encoded)
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, message []byte) {
		name := methods[int(method)%len(methods)]
		switch err := callRaw(t.Context(), conn, name, message); status.Code(err) {
		case codes.Internal, codes.Unavailable, codes.DataLoss:
			if !fromEtcd(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		checkWhole(t, b)
	})
}

// fuzzSeeds have the fields that many requests have in common.
var fuzzSeeds = []proto.Message{
	&pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 1, PrevKv: true},
	&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte{0}, Limit: -1, Revision: -1, SortOrder: 9, SortTarget: -9},
	&pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), IgnoreValue: true}}},
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}},
		{},
	}},
	&pb.LeaseGrantRequest{ID: -1, TTL: -1},
	&pb.MemberAddRequest{PeerURLs: []string{"http://%zz:1"}, IsLearner: true},
}

// callRaw makes one call, whether it streams or not, and returns how it ended. It takes no more than an answer or two.
func callRaw(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, fuzzPatience)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&message); err != nil {
		return stream.RecvMsg(new([]byte))
	}
	_ = stream.CloseSend()
	for range 2 {
		if err := stream.RecvMsg(new([]byte)); err != nil {
			return err
		}
	}
	return nil
}

// fromEtcd tells errors that are etcd's answers from those of a server that broke, or of a message that is none.
func fromEtcd(err error) bool {
	text := status.Convert(err).Message()
	return strings.HasPrefix(text, "etcdserver: ") || strings.HasPrefix(text, "grpc: ")
}

// checkWhole reads everything, and counts it in two ways.
func checkWhole(t *testing.T, b *localBackend) {
	t.Helper()
	all, err := b.store.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		return // a CORRUPT alarm, which anybody may raise here
	}
	m := b.store.Metrics()
	var bytes int64
	for _, kv := range all.Kvs {
		bytes += int64(len(kv.Key) + len(kv.Value))
	}
	if m.Revision == all.Header.Revision && (m.Keys != all.Count || m.LiveBytes != bytes) {
		t.Errorf("%d keys of %d bytes, counted as %d of %d", all.Count, bytes, m.Keys, m.LiveBytes)
	}
	if _, err := b.store.HashKV(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
