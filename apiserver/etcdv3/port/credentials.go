package port

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Credentials are those of a gRPC server that accepts from Port.GRPC: TLS has ended there already, so that all there is to do is to
// tell the calls what was found out. Calls over TLS have a credentials.TLSInfo, as with credentials.NewTLS.
func Credentials() credentials.TransportCredentials { return serverCredentials{} }

type serverCredentials struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (serverCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	switch c := conn.(type) {
	case *grpcConn:
		if c.secured == nil {
			return conn, plainInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}, nil
		}
		return conn, credentials.TLSInfo{
			State:          *c.secured,
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		}, nil
	case *localConn:
		return conn, localInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	}
	return nil, nil, errors.New("this gRPC server takes the connections of its port alone")
}

// ClientHandshake implements credentials.TransportCredentials.
func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (serverCredentials) OverrideServerName(string) error { return nil }

type plainInfo struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (plainInfo) AuthType() string { return "insecure" }

type localInfo struct{ credentials.CommonAuthInfo }

// AuthType implements credentials.AuthInfo.
func (localInfo) AuthType() string { return "local" }

// Local tells whether a call came over a connection of Dial: whoever opened that answers for who may call.
func Local(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	_, local := p.AuthInfo.(localInfo)
	return local
}
