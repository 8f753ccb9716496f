// Package printing turns objects into the tables that kubectl shows: which columns each kind has,
// and what stands in them. The server does it, so that every client shows the same.
package printing

import (
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/api/resource"
)

// Printer makes tables. It is safe for concurrent use.
type Printer struct {
	clock clock.PassiveClock
}

// New makes a printer that reckons ages by the clock.
func New(clock clock.PassiveClock) *Printer { return &Printer{clock: clock} }

// view is how one kind is shown.
type view struct {
	columns []metav1.TableColumnDefinition
	row     func(now time.Time, obj runtime.Object) (metav1.TableRow, error)
}

// views has the kinds that show more than name and age.
var views = map[schema.GroupResource]view{
	{Resource: "pods"}:                                      viewOf(podColumns, podRow),
	{Resource: "nodes"}:                                     viewOf(nodeColumns, nodeRow),
	{Resource: "services"}:                                  viewOf(serviceColumns, serviceRow),
	{Resource: "namespaces"}:                                viewOf(namespaceColumns, namespaceRow),
	{Resource: "configmaps"}:                                viewOf(configMapColumns, configMapRow),
	{Resource: "secrets"}:                                   viewOf(secretColumns, secretRow),
	{Resource: "serviceaccounts"}:                           viewOf(serviceAccountColumns, serviceAccountRow),
	{Resource: "events"}:                                    viewOf(eventColumns, eventRow),
	{Group: "apps", Resource: "deployments"}:                viewOf(deploymentColumns, deploymentRow),
	{Group: "apps", Resource: "replicasets"}:                viewOf(replicaSetColumns, replicaSetRow),
	{Group: "coordination.k8s.io", Resource: "leases"}:      viewOf(leaseColumns, leaseRow),
	{Group: "discovery.k8s.io", Resource: "endpointslices"}: viewOf(endpointSliceColumns, endpointSliceRow),
}

// viewOf makes a view of a function that knows the kind's type.
func viewOf[T runtime.Object](columns []metav1.TableColumnDefinition, row func(now time.Time, obj T) metav1.TableRow) view {
	return view{columns: columns, row: func(now time.Time, obj runtime.Object) (metav1.TableRow, error) {
		typed, ok := obj.(T)
		if !ok {
			return metav1.TableRow{}, fmt.Errorf("a table of %T can't hold a %T", typed, obj)
		}
		return row(now, typed), nil
	}}
}

func viewFor(info *resource.Info) view {
	if v, ok := views[info.GroupResource()]; ok {
		return v
	}
	return view{columns: plainColumns, row: plainRow}
}

// Columns gives the kind's columns. Those of priority 1 are shown only when asked for width. The
// slice is shared: it must not be changed.
func Columns(info *resource.Info) []metav1.TableColumnDefinition { return viewFor(info).columns }

// Table shows objects of one kind. include says what each row carries beside its cells: nothing, the
// object's metadata (also the meaning of an empty include), or the object. The objects are read, not
// changed. The table's list metadata is the caller's to set.
func (p *Printer) Table(info *resource.Info, objs []runtime.Object, include metav1.IncludeObjectPolicy) (*metav1.Table, error) {
	view := viewFor(info)
	now := p.clock.Now()
	table := &metav1.Table{
		TypeMeta:          metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "Table"},
		ColumnDefinitions: view.columns,
		Rows:              make([]metav1.TableRow, 0, len(objs)),
	}
	for _, obj := range objs {
		row, err := view.row(now, obj)
		if err != nil {
			return nil, err
		}
		if row.Object, err = included(info, obj, include); err != nil {
			return nil, err
		}
		table.Rows = append(table.Rows, row)
	}
	return table, nil
}

func included(info *resource.Info, obj runtime.Object, include metav1.IncludeObjectPolicy) (runtime.RawExtension, error) {
	switch include {
	case metav1.IncludeNone:
		return runtime.RawExtension{}, nil
	case metav1.IncludeObject:
		return runtime.RawExtension{Object: withKind(obj, info.GroupVersionKind())}, nil
	case metav1.IncludeMetadata, "":
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return runtime.RawExtension{}, err
		}
		partial := meta.AsPartialObjectMetadata(accessor)
		partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
		return runtime.RawExtension{Object: partial}, nil
	default:
		return runtime.RawExtension{}, fmt.Errorf("includeObject=%q is not known: use None, Metadata or Object", include)
	}
}

// withKind gives obj its kind, on a shallow copy because obj is shared.
func withKind(obj runtime.Object, kind schema.GroupVersionKind) runtime.Object {
	if obj.GetObjectKind().GroupVersionKind() == kind {
		return obj
	}
	copied := reflect.New(reflect.TypeOf(obj).Elem())
	copied.Elem().Set(reflect.ValueOf(obj).Elem())
	named := copied.Interface().(runtime.Object)
	named.GetObjectKind().SetGroupVersionKind(kind)
	return named
}
