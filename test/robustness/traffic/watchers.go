package traffic

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// createRequest and createResponse are the messages by which a watch began.
func createRequest(key string, start int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte(key), StartRevision: start}}}
}

func createResponse(r clientv3.WatchResponse) *pb.WatchResponse {
	return &pb.WatchResponse{Header: r.Header, Created: true}
}

// addWatches makes watches of all kinds: at each member and at any, of all keys and one, from before and from now, fast and
// slow, steady and resumed.
func (t *Traffic) addWatches() error {
	add := func(w *Watch, targets ...Target) error {
		var endpoints []string
		for _, target := range targets {
			endpoints = append(endpoints, target.Address)
		}
		client, err := t.config.Connect(endpoints)
		if err != nil {
			return err
		}
		t.clients = append(t.clients, client)
		w.client = client
		if len(targets) == 1 {
			w.target = &targets[0]
		}
		if w.key == "" {
			w.key = t.history.Prefix
			w.options = append(w.options, clientv3.WithPrefix())
		}
		if w.Wants == nil {
			w.Wants = all
		}
		t.history.Watches = append(t.history.Watches, w)
		return nil
	}
	for _, target := range t.config.Targets {
		at := " at " + target.Name()
		for _, w := range []*Watch{
			{Name: "steady" + at},
			{Name: "resumed" + at, breaks: 7},
			{Name: "from now" + at, fromNow: true, breaks: 60},
		} {
			if err := add(w, target); err != nil {
				return err
			}
		}
	}
	one := t.history.Prefix + "k/3"
	for _, w := range []*Watch{
		{Name: "resumed", breaks: 20},
		{Name: "slow", slow: 60 * time.Millisecond},
		{Name: "of one key", key: one, Wants: func(e *clientv3.Event) bool { return string(e.Kv.Key) == one }},
		{
			Name: "of deletes", options: []clientv3.OpOption{clientv3.WithFilterPut()},
			Wants: func(e *clientv3.Event) bool { return e.Type == clientv3.EventTypeDelete },
		},
	} {
		if err := add(w, t.config.Targets...); err != nil {
			return err
		}
	}
	t.recorder = &Watch{Name: "recorder"}
	return add(t.recorder, t.config.Targets...)
}
