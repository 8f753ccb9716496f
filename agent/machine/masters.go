package machine

import (
	"context"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
)

// mastersPause is between two attempts to watch the masters' addresses.
const mastersPause = 5 * time.Second

// watchMasters calls changed when the masters' addresses, as the service "kubernetes" has them, are others than before, and
// when they may be, since nobody could be asked. It returns when ctx ends.
func watchMasters(ctx context.Context, objects client.Objects, changed func()) {
	slices := client.For[*discoveryv1.EndpointSlice](objects)
	selected := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"}
	for ctx.Err() == nil {
		// Without a version to go on from, the watch begins with what there is.
		if events, err := slices.Watch(ctx, metav1.NamespaceDefault, selected); err == nil {
			for range events.ResultChan() {
				changed()
			}
			events.Stop()
		}
		changed()
		timer := time.NewTimer(mastersPause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}
