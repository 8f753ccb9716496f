package cached

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/client"
)

// Names of the indices, to be given to Kind.By.
const (
	// ByNamespace finds the objects of a namespace.
	ByNamespace = cache.NamespaceIndex
	// ByController finds what an owner controls, by Controller's value, and by Orphan's what no one does.
	ByController = "controller"
	// ByNode finds the pods that are bound to a node, by its name.
	ByNode = "node"
)

// Controller is ByController's value for what the given owner controls.
func Controller(owner client.Object) string { return string(owner.GetUID()) }

// Orphan is ByController's value for the objects of a namespace that have no controller.
func Orphan(namespace string) string { return "orphan/" + namespace }

// AddIndex adds an index to the shared informer of kind T, once however often it is called. The informers
// must not be running yet.
func AddIndex[T client.Object](informers *client.Informers, name string, values func(T) []string) {
	informer := client.InformerFor[T](informers)
	if _, ok := informer.GetIndexer().GetIndexers()[name]; ok {
		return
	}
	index := func(obj any) ([]string, error) {
		t, ok := obj.(T)
		if !ok {
			return nil, fmt.Errorf("index %s holds %T, got a %T", name, *new(T), obj)
		}
		return values(t), nil
	}
	if err := informer.AddIndexers(cache.Indexers{name: index}); err != nil {
		panic("cached.AddIndex: the informers have been started already: " + err.Error())
	}
}

// IndexByController adds the index ByController to kind T.
func IndexByController[T client.Object](informers *client.Informers) {
	AddIndex(informers, ByController, func(obj T) []string {
		if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
			return []string{string(ref.UID)}
		}
		return []string{Orphan(obj.GetNamespace())}
	})
}

// IndexPodsByNode adds the index ByNode.
func IndexPodsByNode(informers *client.Informers) {
	AddIndex(informers, ByNode, func(pod *corev1.Pod) []string {
		if pod.Spec.NodeName == "" {
			return nil
		}
		return []string{pod.Spec.NodeName}
	})
}
