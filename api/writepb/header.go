package writepb

import (
	"strconv"

	"google.golang.org/grpc/metadata"
)

// Header is what a server says when a write stream begins. A server of an earlier release says none of it.
type Header struct {
	// MaxWriteBytes bounds the key and value of one write; 0: it is not told.
	MaxWriteBytes int
	// Cluster and Member are who serves the stream; Leader is who leads, as far as that is known.
	Cluster, Member, Leader uint64
	// LeaderURLs are the client URLs that the leader advertises, if another member serves the stream.
	LeaderURLs []string
}

const (
	maxWriteKey  = "ctlplane-max-write-bytes"
	clusterKey   = "ctlplane-cluster"
	memberKey    = "ctlplane-member"
	leaderKey    = "ctlplane-leader"
	leaderURLKey = "ctlplane-leader-url"
)

// Metadata is the header on its way.
func (h Header) Metadata() metadata.MD {
	md := metadata.Pairs(maxWriteKey, strconv.Itoa(h.MaxWriteBytes),
		clusterKey, formatID(h.Cluster), memberKey, formatID(h.Member), leaderKey, formatID(h.Leader))
	md.Append(leaderURLKey, h.LeaderURLs...)
	return md
}

// HeaderOf reads a header. What can't be read is as if it was not there.
func HeaderOf(md metadata.MD) (h Header) {
	h.MaxWriteBytes, _ = strconv.Atoi(first(md, maxWriteKey))
	h.Cluster, h.Member, h.Leader = parseID(md, clusterKey), parseID(md, memberKey), parseID(md, leaderKey)
	h.LeaderURLs = md.Get(leaderURLKey)
	return h
}

func formatID(id uint64) string { return strconv.FormatUint(id, 16) }

func parseID(md metadata.MD, key string) uint64 {
	id, _ := strconv.ParseUint(first(md, key), 16, 64)
	return id
}

func first(md metadata.MD, key string) string {
	if values := md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
