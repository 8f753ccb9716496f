package node

import (
	"context"
	"math"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

// missedBeats is how many renewals may be missed before the lease has run out.
const missedBeats = 8

// heartbeat renews the node's lease. The lease belongs to the Node object and goes with it.
type heartbeat struct {
	cfg    Config
	leases client.Typed[*coordinationv1.Lease]
	nodes  client.Typed[*corev1.Node]
	// last is the lease as it was written last, nil when it has to be read first.
	last *coordinationv1.Lease
}

func newHeartbeat(cfg Config) *heartbeat {
	return &heartbeat{cfg: cfg, leases: client.For[*coordinationv1.Lease](cfg.Objects), nodes: client.For[*corev1.Node](cfg.Objects)}
}

// beat renews the lease once, making it when there is none.
func (h *heartbeat) beat(ctx context.Context) error {
	if h.last == nil {
		current, err := h.leases.Get(ctx, corev1.NamespaceNodeLease, h.cfg.Name)
		if apierrors.IsNotFound(err) {
			h.last, err = h.leases.Create(ctx, h.renewed(ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: h.cfg.Name},
			}))
			if err != nil {
				h.last = nil
			}
			return err
		}
		if err != nil {
			return err
		}
		h.last = current
	}
	written, err := h.leases.Update(ctx, h.renewed(ctx, h.last))
	if err != nil {
		h.last = nil
		return err
	}
	h.last = written
	return nil
}

func (h *heartbeat) renewed(ctx context.Context, lease *coordinationv1.Lease) *coordinationv1.Lease {
	next := lease.DeepCopy()
	if len(next.OwnerReferences) == 0 {
		next.OwnerReferences = h.owner(ctx)
	}
	next.Spec.HolderIdentity = ptr.To(h.cfg.Name)
	next.Spec.LeaseDurationSeconds = ptr.To(int32(math.Ceil((missedBeats * h.cfg.Heartbeat).Seconds())))
	next.Spec.RenewTime = ptr.To(metav1.NewMicroTime(h.cfg.Clock.Now().Truncate(time.Microsecond)))
	return next
}

// owner refers to the Node object; empty while it can't be read, which costs no heartbeat: the next one tries again.
func (h *heartbeat) owner(ctx context.Context) []metav1.OwnerReference {
	node, err := h.nodes.Get(ctx, "", h.cfg.Name)
	if err != nil {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
}
