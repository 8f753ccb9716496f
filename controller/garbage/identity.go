package garbage

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// identity is all that an owner has to be known by. A UID alone isn't enough: a reference that has it right may
// have the kind or the name wrong, or be in another namespace, where the owner isn't.
type identity struct {
	info            *resource.Info
	namespace, name string
	uid             types.UID
}

// identityOf is an object's own.
func identityOf(info *resource.Info, obj client.Object) identity {
	return identity{info: info, namespace: obj.GetNamespace(), name: obj.GetName(), uid: obj.GetUID()}
}

// identityIn is that of the owner of a kind that an object's reference means.
func identityIn(info *resource.Info, obj client.Object, ref metav1.OwnerReference) identity {
	return identity{info: info, namespace: namespaceFor(info, obj), name: ref.Name, uid: ref.UID}
}

// kindOf finds the kind that a reference names; in which version doesn't matter.
func (c *Controller) kindOf(apiVersion, kind string) (*resource.Info, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, false
	}
	info, ok := c.byKind[schema.GroupKind{Group: gv.Group, Kind: kind}]
	return info, ok
}

// namespaceFor is where an owner of a kind is, of an object that refers to it.
func namespaceFor(info *resource.Info, obj client.Object) string {
	if !info.Namespaced {
		return ""
	}
	return obj.GetNamespace()
}

// refsTo lists the references of an object that mean the given owner.
func (c *Controller) refsTo(obj client.Object, info *resource.Info, owner client.Object) []metav1.OwnerReference {
	var refs []metav1.OwnerReference
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID != owner.GetUID() {
			continue
		}
		if kind, ok := c.kindOf(ref.APIVersion, ref.Kind); ok && identityIn(kind, obj, ref) == identityOf(info, owner) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// misplaced tells of an owner that isn't where a reference has it, that it is in another namespace.
type misplaced bool

// elsewhere looks for an owner in the other namespaces, as far as the caches show them.
func (c *Controller) elsewhere(info *resource.Info, id identity) misplaced {
	if !info.Namespaced {
		return false
	}
	for namespace, indexer := range c.kinds {
		if namespace.Resource != "namespaces" {
			continue
		}
		for _, name := range indexer.ListKeys() {
			owner, ok := c.cached(item{info: info, namespace: name, name: id.name})
			if ok && owner.GetUID() == id.uid {
				return true
			}
		}
	}
	return false
}

// tellMisplaced tells once, beside an object, that its owner can't be in the object's namespace.
func (c *Controller) tellMisplaced(obj client.Object, ref metav1.OwnerReference) {
	type reference struct{ of, to types.UID }
	key := reference{of: obj.GetUID(), to: ref.UID}
	if _, ok := c.told.Get(key); ok {
		return
	}
	c.told.Add(key, nil)
	c.loop.Eventf(obj, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
		"ownerRef [%s/%s, name: %s, uid: %s] does not exist in namespace %q", ref.APIVersion, ref.Kind, ref.Name, ref.UID, obj.GetNamespace())
}
