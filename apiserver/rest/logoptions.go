package rest

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// logOptions are what a client may ask of a log, and how each is written.
var logOptions = map[string]func(string) error{
	"follow": isBool, "previous": isBool, "timestamps": isBool,
	"tailLines": isNumber, "sinceSeconds": isNumber, "limitBytes": isNumber,
	"sinceTime": func(s string) error { _, err := time.Parse(time.RFC3339, s); return err },
	"stream":    func(string) error { return nil },
}

func isBool(s string) error { _, err := strconv.ParseBool(s); return err }

func isNumber(s string) error { _, err := strconv.ParseInt(s, 10, 64); return err }

// logQuery is the part of the client's query that is the agent's to answer.
func logQuery(query url.Values) (url.Values, error) {
	passed := url.Values{}
	for name, valid := range logOptions {
		value := query.Get(name)
		if value == "" {
			continue
		}
		if err := valid(value); err != nil {
			return nil, badRequest("%s=%q: %v", name, value, err)
		}
		passed.Set(name, value)
	}
	if errs := checkLogOptions(passed); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, "", errs)
	}
	return passed, nil
}

// logStreams are what may be asked for of what a container has written.
var logStreams = []string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}

// checkLogOptions finds what has no meaning in options that can be read, with the texts that clients know of Kubernetes.
func checkLogOptions(opts url.Values) field.ErrorList {
	var errs field.ErrorList
	atLeast := func(name string, least int64, why string) {
		if n, err := strconv.ParseInt(opts.Get(name), 10, 64); err == nil && n < least {
			errs = append(errs, field.Invalid(field.NewPath(name), n, why))
		}
	}
	atLeast("tailLines", 0, "must be greater than or equal to 0")
	atLeast("limitBytes", 1, "must be greater than 0")
	if opts.Has("sinceSeconds") && opts.Has("sinceTime") {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	} else {
		atLeast("sinceSeconds", 1, "must be greater than 0")
	}
	switch stream := opts.Get("stream"); {
	case stream == "":
	case !slices.Contains(logStreams, stream):
		errs = append(errs, field.NotSupported(field.NewPath("stream"), stream, logStreams))
	case stream != corev1.LogStreamAll && opts.Has("tailLines"):
		errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
	}
	return errs
}
