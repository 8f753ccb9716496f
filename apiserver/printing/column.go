package printing

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	none    = "<none>"
	unknown = "<unknown>"
)

var objectMeta = metav1.ObjectMeta{}.SwaggerDoc()

var (
	nameColumn = metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: objectMeta["name"]}
	ageColumn  = text("Age", objectMeta["creationTimestamp"])
)

// text is a column of words.
func text(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// number is a column of whole numbers; its cells are int64.
func number(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// wide is a column that is shown only when asked for width.
func wide(column metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	column.Priority = 1
	return column
}

func row(cells ...any) metav1.TableRow { return metav1.TableRow{Cells: cells} }

var plainColumns = []metav1.TableColumnDefinition{nameColumn, ageColumn}

func plainRow(now time.Time, obj runtime.Object) (metav1.TableRow, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return metav1.TableRow{}, err
	}
	return row(accessor.GetName(), since(now, accessor.GetCreationTimestamp().Time)), nil
}

// since is the time that has passed, in kubectl's short form.
func since(now, then time.Time) string {
	if then.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(then))
}

// orElse is s, or instead when there is no s.
func orElse(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}
