package printing

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var eventDoc = corev1.Event{}.SwaggerDoc()

var eventColumns = []metav1.TableColumnDefinition{
	text("Last Seen", eventDoc["lastTimestamp"]),
	text("Type", eventDoc["type"]),
	text("Reason", eventDoc["reason"]),
	text("Object", eventDoc["involvedObject"]),
	wide(text("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
	wide(text("Source", eventDoc["source"])),
	text("Message", eventDoc["message"]),
	wide(text("First Seen", eventDoc["firstTimestamp"])),
	wide(number("Count", eventDoc["count"])),
	wide(nameColumn),
}

func eventRow(now time.Time, event *corev1.Event) metav1.TableRow {
	first, last, count := occurrences(event)
	object := strings.ToLower(event.InvolvedObject.Kind)
	if event.InvolvedObject.Name != "" {
		object += "/" + event.InvolvedObject.Name
	}
	return row(
		since(now, last),
		event.Type,
		event.Reason,
		object,
		event.InvolvedObject.FieldPath,
		eventSource(event),
		strings.TrimSpace(event.Message),
		since(now, first),
		count,
		event.Name,
	)
}

// occurrences reads when an event happened first and last, and how often. Reporters of the older API
// fill the timestamps and the count, those of the newer one the event time and the series.
func occurrences(event *corev1.Event) (first, last time.Time, count int64) {
	first, last, count = event.FirstTimestamp.Time, event.LastTimestamp.Time, int64(event.Count)
	if first.IsZero() {
		first = event.EventTime.Time
	}
	if last.IsZero() {
		last = first
	}
	if event.Series != nil {
		return first, event.Series.LastObservedTime.Time, int64(event.Series.Count)
	}
	return first, last, max(count, 1)
}

func eventSource(event *corev1.Event) string {
	component := orElse(event.Source.Component, event.ReportingController)
	host := orElse(event.Source.Host, event.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}
