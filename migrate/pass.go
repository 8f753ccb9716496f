package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// maxMessage lets every message through: where it comes from and where it goes have limits of their own.
const maxMessage = math.MaxInt32

// frame is a message as it is on the wire.
type frame struct{ data mem.BufferSlice }

// frames is the codec of messages that are passed on as they are.
type frames struct{}

// Marshal implements encoding.CodecV2. The frame is given away.
func (frames) Marshal(message any) (mem.BufferSlice, error) {
	f, ok := message.(*frame)
	if !ok {
		return nil, fmt.Errorf("%T is no frame", message)
	}
	data := f.data
	f.data = nil
	return data, nil
}

// Unmarshal implements encoding.CodecV2.
func (frames) Unmarshal(data mem.BufferSlice, message any) error {
	f, ok := message.(*frame)
	if !ok {
		return fmt.Errorf("%T is no frame", message)
	}
	data.Ref()
	f.data = data
	return nil
}

// Name implements encoding.CodecV2: what is on the wire is protobuf.
func (frames) Name() string { return proto.Name }

// passed is what goes along with a call. Nothing that says who connects is lent to the caller: etcd takes the common name of
// a connection's certificate for its user, unless the call says that it came through a gateway.
func passed(ctx context.Context) context.Context {
	out := metadata.MD{}
	in, _ := metadata.FromIncomingContext(ctx)
	for key, values := range in {
		switch {
		case strings.HasPrefix(key, ":"), strings.HasPrefix(key, "grpc-"):
		case key == "content-type", key == "user-agent", key == "te", key == "client-api-version":
		default:
			out[key] = values
		}
	}
	out.Set("grpcgateway-accept", "*")
	return metadata.NewOutgoingContext(ctx, out)
}

var bothWays = grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// pass passes a call on, whatever its messages are, until it ends. requests is given the goroutine that passes on what the
// client sends: it ends when the call has ended here.
func pass(c *call, method string, from grpc.ServerStream, requests func(func())) error {
	to, err := c.to.NewStream(passed(c.ctx), &bothWays, method, grpc.ForceCodecV2(frames{}),
		grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))
	if err != nil {
		return c.outcome(err)
	}
	requests(func() { passRequests(from, to, c.cancel) })
	err = passAnswers(to, from)
	from.SetTrailer(to.Trailer())
	return c.outcome(err)
}

func passRequests(from grpc.ServerStream, to grpc.ClientStream, broken context.CancelCauseFunc) {
	for {
		var f frame
		err := from.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			_ = to.CloseSend() // the answers tell what is wrong
			return
		}
		if err != nil {
			broken(err)
			return
		}
		if to.SendMsg(&f) != nil {
			return // the answers tell why
		}
	}
}

func passAnswers(from grpc.ClientStream, to grpc.ServerStream) error {
	header, err := from.Header()
	if err != nil {
		return err
	}
	if err := to.SendHeader(header); err != nil {
		return err
	}
	for {
		var f frame
		switch err := from.RecvMsg(&f); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := to.SendMsg(&f); err != nil {
			return err
		}
	}
}

// outcome is what the client is told: of a call that was ended because calls are held, to call again.
func (c *call) outcome(err error) error {
	if err != nil && errors.Is(context.Cause(c.ctx), errHeld) {
		return errConnectAgain
	}
	return err
}
