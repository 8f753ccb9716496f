package raftstore

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// What counts as slow, as in etcd.
const (
	slowReadIndex = 500 * time.Millisecond
)

// instruments are the figures that are counted where things happen, under etcd's names; the others are asked for when metrics are
// collected (see collector). Counting costs some tens of nanoseconds, at most once a message, an fsync or an entry. Once a command
// only requestInstruments count. Methods of nil count nothing.
type instruments struct {
	walSync, commit                                                 prometheus.Histogram
	slowApplies, slowReads, failedReads, failedHeartbeats, renewals prometheus.Counter
	expiries                                                        prometheus.Counter
	upkeep                                                          upkeepInstruments
	requests                                                        requestInstruments
	roundTrip                                                       *prometheus.HistogramVec
	sent, received, sendFailures                                    *prometheus.CounterVec
	hanging                                                         *prometheus.GaugeVec
	stalls                                                          *prometheus.CounterVec
	yields                                                          prometheus.Counter
}

// diskBuckets are etcd's: from 1 ms to 8 s, and two below, for disks of today.
var diskBuckets = append([]float64{0.00025, 0.0005}, prometheus.ExponentialBuckets(0.001, 2, 14)...)

func newInstruments() *instruments {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: diskBuckets})
	}
	i := &instruments{
		upkeep:           newUpkeepInstruments(),
		requests:         newRequestInstruments(),
		walSync:          histogram("etcd_disk_wal_fsync_duration_seconds", "How long the Raft log takes to make a batch of entries durable."),
		commit:           histogram("etcd_disk_backend_commit_duration_seconds", "How long the state takes to take in a group of entries."),
		slowApplies:      counter("etcd_server_slow_apply_total", "Groups of entries that took the state too long to take in (--warning-apply-duration)."),
		slowReads:        counter("etcd_server_slow_read_indexes_total", "Rounds for linearizable reads that took over 500 ms."),
		failedReads:      counter("etcd_server_read_indexes_failed_total", "Rounds for linearizable reads that failed."),
		failedHeartbeats: counter("etcd_server_heartbeat_send_failures_total", "Heartbeats that a follower did not answer."),
		renewals:         counter("etcd_debugging_lease_renewed_total", "Renewals of leases that this member was asked for."),
		expiries:         counter("etcd_debugging_server_lease_expired_total", "Leases that ran out while this member led."),
		roundTrip: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_network_peer_round_trip_time_seconds", Help: "How long a follower takes to answer a heartbeat.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"To"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_network_peer_sent_bytes_total", Help: "Bytes of Raft's messages to other members.",
		}, []string{"To"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_network_peer_received_bytes_total", Help: "Bytes of Raft's messages from other members.",
		}, []string{"From"}),
		sendFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_network_peer_sent_failures_total", Help: "Raft's requests to other members that were not answered.",
		}, []string{"To"}),
		hanging: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ctlplane_store_disk_stalled", Help: "Whether what the disk was given has not ended for an election timeout.",
		}, []string{"work"}),
		stalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ctlplane_store_disk_stalls_total", Help: "How often that began.",
		}, []string{"work"}),
		yields: counter("ctlplane_store_disk_stall_handovers_total", "How often this member gave up the lead for it."),
	}
	for _, kind := range []string{disk.WorkLog, disk.WorkVote, disk.WorkState} {
		i.hanging.WithLabelValues(kind)
		i.stalls.WithLabelValues(kind)
	}
	return i
}

func (i *instruments) collectors() []prometheus.Collector {
	return append(append(i.upkeep.collectors(), i.requests.collectors()...),
		i.walSync, i.commit, i.slowApplies, i.slowReads, i.failedReads, i.failedHeartbeats, i.renewals, i.expiries,
		i.roundTrip, i.sent, i.received, i.sendFailures, i.hanging, i.stalls, i.yields)
}

func (i *instruments) stallBegun(kind string) {
	i.hanging.WithLabelValues(kind).Set(1)
	i.stalls.WithLabelValues(kind).Inc()
}

func (i *instruments) stallEnded(kind string) { i.hanging.WithLabelValues(kind).Set(0) }

func (i *instruments) synced(took time.Duration) {
	if i != nil {
		i.walSync.Observe(took.Seconds())
	}
}

func (i *instruments) applied(took time.Duration, slow bool) {
	if i == nil {
		return
	}
	i.commit.Observe(took.Seconds())
	if slow {
		i.slowApplies.Inc()
	}
}

func (i *instruments) readRound(took time.Duration, err error) {
	switch {
	case i == nil:
	case err != nil:
		i.failedReads.Inc()
	case took > slowReadIndex:
		i.slowReads.Inc()
	}
}

func (i *instruments) heartbeat(to raft.ServerID, took time.Duration, err error) {
	switch {
	case i == nil:
	case err != nil:
		i.failedHeartbeats.Inc()
	default:
		i.roundTrip.WithLabelValues(string(to)).Observe(took.Seconds())
	}
}

func (i *instruments) sendFailed(to raft.ServerID) {
	if i != nil {
		i.sendFailures.WithLabelValues(string(to)).Inc()
	}
}

func (i *instruments) leaseRenewed() {
	if i != nil {
		i.renewals.Inc()
	}
}

func (i *instruments) leasesExpired(n int) {
	if i != nil {
		i.expiries.Add(float64(n))
	}
}

// peer counts the bytes of a connection with one member.
func (i *instruments) peer(id string) peers.Bytes {
	if i == nil {
		return peers.Bytes{}
	}
	return peers.Bytes{Sent: i.sent.WithLabelValues(id), Received: i.received.WithLabelValues(id)}
}

// unknownPeer is the label of who is not among the members yet.
const unknownPeer = "unknown"

// bytesOf are the counters of a connection of Raft's with another member.
func (m *Member) bytesOf(conn net.Conn, dialled raft.ServerAddress) peers.Bytes {
	if id := m.peerOf(conn, dialled); id != "" {
		return m.instruments.peer(string(id))
	}
	return m.instruments.peer(unknownPeer)
}

// peerOf is who is at the other end of a connection of Raft's: known by the address that was dialled, or by the name in the
// certificate where it called. It is empty while it is not among the members.
func (m *Member) peerOf(conn net.Conn, dialled raft.ServerAddress) raft.ServerID {
	name := ""
	if secured, ok := conn.(*tls.Conn); ok && dialled == "" {
		if chain := secured.ConnectionState().PeerCertificates; len(chain) > 0 {
			name = chain[0].Subject.CommonName
		}
	}
	for _, record := range m.MemberRecords() {
		if dialled != "" && membership.HostPort(record.PeerURLs) == string(dialled) || name != "" && record.Name == name {
			return membership.ServerID(record.ID)
		}
	}
	return ""
}
