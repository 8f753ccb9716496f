package watch

import (
	"errors"

	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/kv"
)

// refusal is why a watch was not created, in etcd's words.
func refusal(err error) string {
	switch {
	case errors.Is(err, kv.ErrWatchExists):
		return "mvcc: duplicate watch ID provided on the WatchStream"
	case errors.Is(err, kv.ErrInvalidRange):
		return "mvcc: watcher range is empty"
	case authRefusal(err): // whole: etcd's client tells by it whether it needs another token
		return rpcerr.ToStatus(err).Error()
	}
	return status.Convert(rpcerr.ToStatus(err)).Message()
}

func authRefusal(err error) bool {
	for _, code := range [...]kv.ErrorCode{kv.ErrInvalidAuthToken, kv.ErrAuthOldRevision, kv.ErrUserEmpty, kv.ErrPermissionDenied} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
