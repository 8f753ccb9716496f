package registry

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/immutable"
)

// stored is the encoding of objects in the store: Kubernetes' protobuf envelope.
var stored = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

// Object is what the registry keeps: a typed object with metadata.
type Object interface {
	runtime.Object
	metav1.Object
}

// encode gives the stored form of obj, which bears no resource version: the store's revision is it.
func encode(obj Object) ([]byte, error) {
	if obj.GetResourceVersion() != "" {
		obj = shallowCopy(obj)
		obj.SetResourceVersion("")
	}
	var b bytes.Buffer
	if err := stored.Encode(obj, &b); err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	return b.Bytes(), nil
}

// decode reads the stored form of an object that was last written at revision. The object is going to be shared.
func (k *kind) decode(value []byte, revision int64) (Object, error) {
	into := k.New()
	decoded, _, err := stored.Decode(value, nil, into)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.Kind, err)
	}
	obj, ok := decoded.(Object)
	if !ok {
		return nil, fmt.Errorf("decode %s: found a %T", k.Kind, decoded)
	}
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	obj.SetResourceVersion(formatRevision(revision))
	immutable.Watch(obj)
	return obj, nil
}

// shallowCopy gives an object whose own fields may be set and whose parts are still shared. It is for
// readers: what is written to the store is made from a deepCopy.
func shallowCopy(obj Object) Object {
	v := reflect.ValueOf(obj)
	fresh := reflect.New(v.Type().Elem())
	fresh.Elem().Set(v.Elem())
	return fresh.Interface().(Object)
}

// deepCopy gives an object that shares nothing.
func deepCopy(obj Object) Object { return obj.DeepCopyObject().(Object) }

// newList builds the kind's list from shared objects. The items are copies of the outermost structure
// only, and bear no type of their own, as lists on the wire don't.
func (k *kind) newList(entries []*entry, version string) runtime.Object {
	list := k.NewList()
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	items.Set(reflect.MakeSlice(items.Type(), len(entries), len(entries)))
	for i, e := range entries {
		item := items.Index(i)
		item.Set(reflect.ValueOf(e.object).Elem())
		item.FieldByName("TypeMeta").SetZero()
	}
	gvk := k.GroupVersion().WithKind(k.Kind + "List")
	list.GetObjectKind().SetGroupVersionKind(gvk)
	if m, err := meta.ListAccessor(list); err == nil {
		m.SetResourceVersion(version)
	}
	return list
}

func formatRevision(revision int64) string { return strconv.FormatInt(revision, 10) }

// partOf finds one of obj's top-level fields; the zero Value when the kind has none of that name.
func partOf(obj runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

// moveField sets dst's top-level field to src's and all that this refers to. The caller owns both, and
// has no more use for src: neither may be an object that others read.
func moveField(dst, src runtime.Object, name string) {
	if f := partOf(dst, name); f.IsValid() {
		f.Set(partOf(src, name))
	}
}
