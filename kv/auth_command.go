package kv

import (
	"encoding/binary"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// The kinds of changes of users and roles, by the byte that follows tagAuth. The numbers are in the Raft log: never renumber.
// No request has a password in it: a HashedPassword instead, which is a bcrypt hash in base64, as in etcd's log.
var authKinds = [...]func() proto.Message{
	1:  func() proto.Message { return new(pb.AuthEnableRequest) },
	2:  func() proto.Message { return new(pb.AuthDisableRequest) },
	3:  func() proto.Message { return new(pb.AuthUserAddRequest) },
	4:  func() proto.Message { return new(pb.AuthUserDeleteRequest) },
	5:  func() proto.Message { return new(pb.AuthUserChangePasswordRequest) },
	6:  func() proto.Message { return new(pb.AuthUserGrantRoleRequest) },
	7:  func() proto.Message { return new(pb.AuthUserRevokeRoleRequest) },
	8:  func() proto.Message { return new(pb.AuthRoleAddRequest) },
	9:  func() proto.Message { return new(pb.AuthRoleDeleteRequest) },
	10: func() proto.Message { return new(pb.AuthRoleGrantPermissionRequest) },
	11: func() proto.Message { return new(pb.AuthRoleRevokePermissionRequest) },
	12: func() proto.Message { return new(pb.InternalAuthenticateRequest) },
}

// authKind returns the number of a request's kind, 0 for one that is no change of users and roles.
func authKind(m proto.Message) byte {
	switch m.(type) {
	case *pb.AuthEnableRequest:
		return 1
	case *pb.AuthDisableRequest:
		return 2
	case *pb.AuthUserAddRequest:
		return 3
	case *pb.AuthUserDeleteRequest:
		return 4
	case *pb.AuthUserChangePasswordRequest:
		return 5
	case *pb.AuthUserGrantRoleRequest:
		return 6
	case *pb.AuthUserRevokeRoleRequest:
		return 7
	case *pb.AuthRoleAddRequest:
		return 8
	case *pb.AuthRoleDeleteRequest:
		return 9
	case *pb.AuthRoleGrantPermissionRequest:
		return 10
	case *pb.AuthRoleRevokePermissionRequest:
		return 11
	case *pb.InternalAuthenticateRequest:
		return 12
	}
	return 0
}

// validateAuth reports what is wrong with a change of users or roles, as far as that can be told without knowing them.
func validateAuth(m proto.Message) error {
	clear := ""
	switch r := m.(type) {
	case *pb.AuthUserAddRequest:
		if r.Name == "" {
			return ErrUserEmpty
		}
		clear = r.Password
	case *pb.AuthUserChangePasswordRequest:
		clear = r.Password
	case *pb.InternalAuthenticateRequest:
		clear = r.Password
	case *pb.AuthRoleAddRequest:
		if r.Name == "" {
			return ErrRoleEmpty
		}
	case *pb.AuthRoleGrantPermissionRequest:
		return validatePermission(r.Perm)
	}
	switch {
	case authKind(m) == 0:
		return fmt.Errorf("%w: %T is no change of users or roles", ErrInvalidCommand, m)
	case clear != "":
		return fmt.Errorf("%w: a password in clear text must not get into the log", ErrInvalidCommand)
	}
	return nil
}

// appendCaller appends for whom the command that follows is; nothing for the master's own.
func appendCaller(dst []byte, c *Caller) []byte {
	switch {
	case c == nil:
		return dst
	case c.User == "":
		return append(dst, tagAnonymous)
	}
	dst = binary.AppendUvarint(append(dst, tagCaller), c.AuthRevision)
	dst = binary.AppendUvarint(dst, uint64(len(c.User)))
	return append(dst, c.User...)
}

// decodeCaller returns what appendCaller appended, and what follows it.
func decodeCaller(b []byte) (*Caller, []byte, error) {
	if len(b) > 0 && b[0] == tagAnonymous {
		return Anonymous, b[1:], nil
	}
	if len(b) == 0 || b[0] != tagCaller {
		return nil, b, nil
	}
	revision, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return nil, nil, errBadCaller
	}
	b = b[1+n:]
	length, n := binary.Uvarint(b)
	if n <= 0 || length == 0 || length > uint64(len(b)-n) {
		return nil, nil, errBadCaller
	}
	end := n + int(length)
	return &Caller{User: string(b[n:end]), AuthRevision: revision}, b[end:], nil
}

var errBadCaller = fmt.Errorf("%w: its caller can't be decoded", ErrInvalidCommand)

// decodeAuthCommand decodes what follows tagAuth.
func decodeAuthCommand(b []byte) (Command, error) {
	if len(b) == 0 || int(b[0]) >= len(authKinds) || authKinds[b[0]] == nil {
		return Command{}, fmt.Errorf("%w: a change of users and roles that is not known to this version; upgrade this member to that of the leader", ErrInvalidCommand)
	}
	m := authKinds[b[0]]()
	if err := proto.Unmarshal(b[1:], m); err != nil {
		return Command{}, fmt.Errorf("%w: %v", ErrInvalidCommand, err)
	}
	return Command{Auth: m}, nil
}
