package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/apiserver/rpc"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// A connection reaches the cluster's objects by their Go types.
func ExampleClient_Objects() {
	ctx := context.Background()
	address, stop := exampleServer()
	defer stop()

	connection, err := client.Connect(ctx, client.Config{Endpoints: []string{address}, Insecure: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer connection.Close()

	maps := client.For[*corev1.ConfigMap](connection.Objects())
	created, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"},
		Data:       map[string]string{"colour": "blue"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(created.Name, "is", created.Data["colour"])
	_, err = maps.Get(ctx, "default", "settngs")
	fmt.Println(err)
	// Output:
	// settings is blue
	// configmaps "settngs" not found
}

// Modify edits an object however many others do so at the same time.
func ExampleTyped_Modify() {
	ctx := context.Background()
	cluster := clienttest.New() // any client.Objects will do
	cluster.Add(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}})

	deployments := client.For[*appsv1.Deployment](cluster)
	var editors sync.WaitGroup
	for _, label := range []string{"team", "tier", "track"} {
		editors.Go(func() {
			_, err := deployments.Modify(ctx, "default", "web", func(d *appsv1.Deployment) error {
				metav1.SetMetaDataLabel(&d.ObjectMeta, label, "set")
				return nil
			})
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	editors.Wait()
	web, err := deployments.Get(ctx, "default", "web")
	fmt.Println(len(web.Labels), err)
	// Output: 3 <nil>
}

// An informer keeps a copy of all objects of a kind, and tells of changes.
func ExampleInformerFor() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cluster := clienttest.New()
	cluster.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "first"}})

	informers := client.NewInformers(cluster)
	nodes := client.InformerFor[*corev1.Node](informers)
	seen := make(chan string)
	_, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { seen <- obj.(*corev1.Node).Name },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var running sync.WaitGroup
	running.Go(func() { informers.Run(ctx) })

	fmt.Println(<-seen)
	cluster.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "second"}})
	fmt.Println(<-seen)
	fmt.Println(len(nodes.GetStore().List()), "nodes")
	cancel()
	running.Wait()
	// Output:
	// first
	// second
	// 2 nodes
}

// exampleServer stands in for a cluster's client port.
func exampleServer() (address string, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	anyone := func(ctx context.Context) (context.Context, error) { return ctx, nil }
	service := rpc.Register(server, clienttest.New(), anyone, slog.New(slog.DiscardHandler))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	return listener.Addr().String(), func() {
		service.Close()
		server.Stop()
		serving.Wait()
	}
}
