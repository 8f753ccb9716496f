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

// heartbeat renews the node's lease.
type heartbeat struct {
	cfg    Config
	leases client.Typed[*coordinationv1.Lease]
	// last is the lease as it was written last, nil when it has to be read first.
	last *coordinationv1.Lease
}

func newHeartbeat(cfg Config) *heartbeat {
	return &heartbeat{cfg: cfg, leases: client.For[*coordinationv1.Lease](cfg.Objects)}
}

// beat renews the lease once, making it when there is none.
func (h *heartbeat) beat(ctx context.Context) error {
	if h.last == nil {
		current, err := h.leases.Get(ctx, corev1.NamespaceNodeLease, h.cfg.Name)
		if apierrors.IsNotFound(err) {
			h.last, err = h.leases.Create(ctx, h.renewed(&coordinationv1.Lease{
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
	written, err := h.leases.Update(ctx, h.renewed(h.last))
	if err != nil {
		h.last = nil
		return err
	}
	h.last = written
	return nil
}

func (h *heartbeat) renewed(lease *coordinationv1.Lease) *coordinationv1.Lease {
	next := lease.DeepCopy()
	next.Spec.HolderIdentity = ptr.To(h.cfg.Name)
	next.Spec.LeaseDurationSeconds = ptr.To(int32(math.Ceil((missedBeats * h.cfg.Heartbeat).Seconds())))
	next.Spec.RenewTime = ptr.To(metav1.NewMicroTime(h.cfg.Clock.Now().Truncate(time.Microsecond)))
	return next
}
