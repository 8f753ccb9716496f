package openapi

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

var (
	namespaceParameter = inPath("namespace", "object name and auth scope, such as for teams and projects")
	nameParameter      = inPath("name", "name of the object")
	prettyParameter    = query("pretty", "string", "If 'true', then the output is pretty printed.")

	patchOptions   = metav1.PatchOptions{}.SwaggerDoc()
	forceParameter = query("force", "boolean", patchOptions["force"])
	// writeParameters are those of create, replace and patch.
	writeParameters = []spec.Parameter{
		query("dryRun", "string", patchOptions["dryRun"]),
		query("fieldManager", "string", patchOptions["fieldManager"]),
		query("fieldValidation", "string", patchOptions["fieldValidation"]),
	}

	deleteOptions    = metav1.DeleteOptions{}.SwaggerDoc()
	deleteParameters = []spec.Parameter{
		query("dryRun", "string", deleteOptions["dryRun"]),
		query("gracePeriodSeconds", "integer", deleteOptions["gracePeriodSeconds"]),
		query("orphanDependents", "boolean", deleteOptions["orphanDependents"]),
		query("propagationPolicy", "string", deleteOptions["propagationPolicy"]),
	}

	listOptions    = metav1.ListOptions{}.SwaggerDoc()
	listParameters = []spec.Parameter{
		query("allowWatchBookmarks", "boolean", listOptions["allowWatchBookmarks"]),
		query("continue", "string", listOptions["continue"]),
		query("fieldSelector", "string", listOptions["fieldSelector"]),
		query("labelSelector", "string", listOptions["labelSelector"]),
		query("limit", "integer", listOptions["limit"]),
		query("resourceVersion", "string", listOptions["resourceVersion"]),
		query("resourceVersionMatch", "string", listOptions["resourceVersionMatch"]),
		query("sendInitialEvents", "boolean", listOptions["sendInitialEvents"]),
		query("timeoutSeconds", "integer", listOptions["timeoutSeconds"]),
		query("watch", "boolean", listOptions["watch"]),
	}

	// deleteCollectionParameters say what to delete, and how.
	deleteCollectionParameters = append(deleteParameters[:len(deleteParameters):len(deleteParameters)],
		query("continue", "string", listOptions["continue"]),
		query("fieldSelector", "string", listOptions["fieldSelector"]),
		query("labelSelector", "string", listOptions["labelSelector"]),
		query("limit", "integer", listOptions["limit"]),
		query("resourceVersion", "string", listOptions["resourceVersion"]),
		query("resourceVersionMatch", "string", listOptions["resourceVersionMatch"]),
		query("timeoutSeconds", "integer", listOptions["timeoutSeconds"]),
	)

	logOptions    = corev1.PodLogOptions{}.SwaggerDoc()
	logParameters = []spec.Parameter{
		query("container", "string", logOptions["container"]),
		query("follow", "boolean", logOptions["follow"]),
		query("limitBytes", "integer", logOptions["limitBytes"]),
		query("previous", "boolean", logOptions["previous"]),
		query("sinceSeconds", "integer", logOptions["sinceSeconds"]),
		query("tailLines", "integer", logOptions["tailLines"]),
		query("timestamps", "boolean", logOptions["timestamps"]),
	}
)

func query(name, kind, description string) spec.Parameter {
	p := spec.Parameter{}
	p.Name, p.In, p.Type, p.UniqueItems, p.Description = name, "query", kind, true, description
	return p
}

func inPath(name, description string) spec.Parameter {
	p := spec.Parameter{}
	p.Name, p.In, p.Type, p.UniqueItems, p.Required, p.Description = name, "path", "string", true, true, description
	return p
}

func body(schema *spec.Schema, required bool) spec.Parameter {
	p := spec.Parameter{}
	p.Name, p.In, p.Schema, p.Required = "body", "body", schema, required
	return p
}
