package cached

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// Names of the indices, to be given to Kind.By.
const (
	// ByNamespace finds the objects of a namespace.
	ByNamespace = cache.NamespaceIndex
	// ByController finds what an owner controls, by Controller's value, and by Orphan's what no one does. It files each
	// object under its ControllerOf.
	ByController = "controller"
	// ByNode finds the pods that are bound to a node, by its name.
	ByNode = "node"
)

// Controller is ByController's value for what the given owner controls. A reference is to an owner if all of it fits, in
// the owner's namespace: the right UID alone would hand over what a wrong reference is in, of another namespace even.
func Controller(owner client.Object) string {
	info, err := resource.Of(owner)
	if err != nil {
		panic("cached.Controller: " + err.Error())
	}
	return controllerValue(owner.GetNamespace(), info.Group, info.Kind, owner.GetName(), owner.GetUID())
}

// ControllerOf is ByController's value for whoever controls the given object.
func ControllerOf(obj client.Object) string {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil {
		return Orphan(obj.GetNamespace())
	}
	group, _, versioned := strings.Cut(ref.APIVersion, "/")
	if !versioned {
		group = ""
	}
	return controllerValue(obj.GetNamespace(), group, ref.Kind, ref.Name, ref.UID)
}

func controllerValue(namespace, group, kind, name string, uid types.UID) string {
	return strings.Join([]string{"of", namespace, group, kind, name, string(uid)}, "/")
}

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
		return []string{ControllerOf(obj)}
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
