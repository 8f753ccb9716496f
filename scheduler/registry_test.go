package scheduler_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/apiserver/rpc"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/scheduler"
)

// overGRPC gives objects by way of the object service and the client library, as their user.
func overGRPC(t *testing.T, as context.Context, objects rpc.Objects) client.Objects {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	service := rpc.Register(server, objects, func(ctx context.Context) (context.Context, error) {
		return asUser{ctx, as}, nil
	}, slog.New(slog.DiscardHandler))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { service.Close(); server.Stop(); serving.Wait() })
	connection, err := client.Connect(t.Context(), client.Config{Endpoints: []string{listener.Addr().String()}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection.Objects()
}

// asUser is a call's context with the values of another one, the user among them.
type asUser struct {
	context.Context
	user context.Context
}

func (c asUser) Value(key any) any {
	if value := c.Context.Value(key); value != nil {
		return value
	}
	return c.user.Value(key)
}

// TestOverTheRegistry schedules on the API server's own registry, in process and over gRPC: what
// clienttest stands in for elsewhere is the real thing here.
func TestOverTheRegistry(t *testing.T) {
	for _, way := range []string{"in process", "over gRPC"} {
		t.Run(way, func(t *testing.T) {
			as := registrytest.Admin(t)
			objects := client.Objects(registrytest.New(t, registrytest.NewStorage(t), registry.Options{}))
			if way == "over gRPC" {
				objects = overGRPC(t, as, objects)
			}
			ctx, cancel := context.WithTimeout(as, 30*time.Second)
			var running sync.WaitGroup
			running.Go(func() {
				if err := scheduler.New(objects, scheduler.Options{}).Run(ctx); err != nil {
					t.Errorf("run: %v", err)
				}
			})
			defer running.Wait()
			defer cancel()

			nodes, n1 := client.For[*corev1.Node](objects), node("n1", "2", 10)
			if _, err := nodes.Create(ctx, n1); err != nil {
				t.Fatal(err)
			}
			if _, err := nodes.ModifyStatus(ctx, "", "n1", func(n *corev1.Node) error { n.Status = n1.Status; return nil }); err != nil {
				t.Fatal(err)
			}
			pods := client.For[*corev1.Pod](objects)
			for i := range 3 {
				p := pod(fmt.Sprintf("p%d", i), "1")
				p.Spec.Containers[0].Image = "image"
				if _, err := pods.Create(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
			expectOneLeft(t, ctx, pods)
			w, err := client.For[*corev1.Event](objects).Watch(ctx, "default", metav1.ListOptions{FieldSelector: "reason=FailedScheduling"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if event, ok := <-w.ResultChan(); !ok || event.Object.(*corev1.Event).Type != corev1.EventTypeWarning {
				t.Errorf("the event is %v", event)
			}
		})
	}
}

// expectOneLeft waits until one pod is explained and the others are on their node.
func expectOneLeft(t *testing.T, ctx context.Context, pods client.Typed[*corev1.Pod]) {
	t.Helper()
	w, err := pods.Watch(ctx, "default", metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	bound, waiting := map[string]bool{}, map[string]string{}
	for event := range w.ResultChan() {
		p, ok := event.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("got %v", event)
		}
		for _, condition := range p.Status.Conditions {
			switch {
			case condition.Type != corev1.PodScheduled:
			case condition.Status == corev1.ConditionTrue && p.Spec.NodeName == "n1":
				bound[p.Name] = true
				delete(waiting, p.Name)
			case condition.Status == corev1.ConditionFalse:
				waiting[p.Name] = condition.Message
			}
		}
		if len(bound) == 2 && len(waiting) == 1 {
			for _, message := range waiting {
				if message != "0/1 nodes are available: 1 Insufficient cpu." {
					t.Errorf("the condition says %s", message)
				}
			}
			return
		}
	}
	t.Fatalf("%d pods are bound, %v wait", len(bound), waiting)
}
