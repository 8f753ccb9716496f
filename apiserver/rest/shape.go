package rest

import (
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ctlplane/ctlplane/api/resource"
)

// reshape gives what the client asked to see of an object or a list: all of it, a table, or metadata.
func (h *Handler) reshape(r *http.Request, f format, info *resource.Info, obj runtime.Object) (runtime.Object, error) {
	if _, isStatus := obj.(*metav1.Status); isStatus || f.shape == whole {
		return obj, nil
	}
	if f.shape == asTable {
		return h.table(r, f, info, obj)
	}
	if meta.IsListType(obj) {
		return metadataList(obj)
	}
	return metadataOf(obj)
}

// table shows an object, or a list's items.
func (h *Handler) table(r *http.Request, f format, info *resource.Info, obj runtime.Object) (*metav1.Table, error) {
	objs := []runtime.Object{obj}
	if meta.IsListType(obj) {
		var err error
		if objs, err = meta.ExtractList(obj); err != nil {
			return nil, err
		}
	}
	table, err := h.printer.Table(info, objs, metav1.IncludeObjectPolicy(r.URL.Query().Get("includeObject")))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	table.APIVersion = metav1.GroupName + "/" + f.version
	if list, err := meta.ListAccessor(obj); err == nil {
		table.ResourceVersion, table.Continue, table.RemainingItemCount = list.GetResourceVersion(), list.GetContinue(), list.GetRemainingItemCount()
	} else if single, err := meta.Accessor(obj); err == nil {
		table.ResourceVersion = single.GetResourceVersion()
	}
	return table, nil
}

func metadataOf(obj runtime.Object) (*metav1.PartialObjectMetadata, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	partial := meta.AsPartialObjectMetadata(accessor)
	partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return partial, nil
}

func metadataList(obj runtime.Object) (*metav1.PartialObjectMetadataList, error) {
	partial := &metav1.PartialObjectMetadataList{}
	partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList"))
	list, err := meta.ListAccessor(obj)
	if err != nil {
		return nil, err
	}
	partial.ResourceVersion, partial.Continue, partial.RemainingItemCount = list.GetResourceVersion(), list.GetContinue(), list.GetRemainingItemCount()
	err = meta.EachListItem(obj, func(item runtime.Object) error {
		one, err := metadataOf(item)
		if err == nil {
			partial.Items = append(partial.Items, *one)
		}
		return err
	})
	return partial, err
}
