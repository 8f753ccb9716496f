package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// churnNames is how many objects of a kind there are in a namespace: few, so that writers meet.
const churnNames = 6

// manifests are the kinds' objects, but for their names.
var manifests = map[string]string{
	"namespaces": `{}`,
	"nodes":      `{"spec":{"taints":[{"key":"a","effect":"PreferNoSchedule"}]},"status":{"capacity":{"cpu":"8","memory":"16Gi","pods":"110"}}}`,
	"pods": `{"metadata":{"labels":{"app":"churn"}},"spec":{"terminationGracePeriodSeconds":1,"containers":[{"name":"c","image":"i",
	  "resources":{"limits":{"cpu":"10m"}},"ports":[{"containerPort":80,"name":"http"}]}],"volumes":[{"name":"v","emptyDir":{}}]}}`,
	"services":        `{"spec":{"type":"NodePort","selector":{"app":"churn"},"ports":[{"port":80,"targetPort":"http"}]}}`,
	"configmaps":      `{"data":{"key":"value"}}`,
	"secrets":         `{"stringData":{"key":"value"}}`,
	"serviceaccounts": `{}`,
	"events":          `{"involvedObject":{"kind":"Pod","apiVersion":"v1","name":"p","namespace":"NAMESPACE"},"reason":"Churn","type":"Normal","message":"m"}`,
	"deployments": `{"spec":{"replicas":2,"selector":{"matchLabels":{"app":"NAME"}},"template":{"metadata":{"labels":{"app":"NAME"}},
	  "spec":{"containers":[{"name":"c","image":"i"}]}}}}`,
	"replicasets": `{"spec":{"replicas":1,"selector":{"matchLabels":{"set":"NAME"}},"template":{"metadata":{"labels":{"set":"NAME"}},
	  "spec":{"containers":[{"name":"c","image":"i"}]}}}}`,
	"leases":         `{"spec":{"holderIdentity":"h","leaseDurationSeconds":40}}`,
	"endpointslices": `{"addressType":"IPv4","ports":[{"port":80,"name":"http"}],"endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}]}`,
}

// target is one object that a writer has in mind.
type target struct {
	info            *resource.Info
	namespace, name string
}

// document is the target's manifest, with what else it is to have in its metadata.
func (t target) document(metadata map[string]any) map[string]any {
	text := strings.NewReplacer("NAMESPACE", t.namespace, "NAME", t.name).Replace(manifests[t.info.Resource])
	var document map[string]any
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		panic(err) // it is written above
	}
	meta, ok := document["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
	}
	meta["name"] = t.name
	if t.info.Namespaced {
		meta["namespace"] = t.namespace
	}
	maps.Copy(meta, metadata)
	if t.info.Resource == "pods" && t.name < "churn-3" { // these are left to whoever binds them
		document["spec"].(map[string]any)["schedulerName"] = "nobody"
	}
	document["metadata"], document["kind"], document["apiVersion"] = meta, t.info.Kind, t.info.GroupVersion().String()
	return document
}

// ways are all the ways to write an object; each answers an error when it does not apply to the kind.
var ways = map[string]func(ctx context.Context, o client.Objects, t target) error{
	"create": func(ctx context.Context, o client.Objects, t target) error {
		obj := t.info.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(t.document(nil), obj); err != nil {
			return err
		}
		_, err := o.Create(ctx, t.info.GroupVersionResource, t.namespace, "", "", obj, metav1.CreateOptions{})
		return err
	},
	"update": func(ctx context.Context, o client.Objects, t target) error { return t.update(ctx, o, "") },
	"status": func(ctx context.Context, o client.Objects, t target) error { return t.update(ctx, o, "status") },
	"merge patch": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "", types.MergePatchType, noted(), metav1.PatchOptions{})
	},
	"strategic patch": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "", types.StrategicMergePatchType, noted(), metav1.PatchOptions{})
	},
	"JSON patch": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "", types.JSONPatchType, []any{
			map[string]any{"op": "add", "path": "/metadata/annotations", "value": map[string]any{"patched": fmt.Sprint(rand.Int())}},
		}, metav1.PatchOptions{})
	},
	"status patch": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "status", types.MergePatchType, noted(), metav1.PatchOptions{})
	},
	"apply": func(ctx context.Context, o client.Objects, t target) error {
		force := true
		document := t.document(map[string]any{"annotations": map[string]any{"applied": fmt.Sprint(rand.Int())}})
		delete(document, "status")
		return t.patch(ctx, o, "", types.ApplyYAMLPatchType, document, metav1.PatchOptions{FieldManager: fmt.Sprint("manager-", rand.IntN(3)), Force: &force})
	},
	"hold": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "", types.MergePatchType, map[string]any{"metadata": map[string]any{"finalizers": []string{"example.com/churn"}}}, metav1.PatchOptions{})
	},
	"let go": func(ctx context.Context, o client.Objects, t target) error {
		return t.patch(ctx, o, "", types.MergePatchType, map[string]any{"metadata": map[string]any{"finalizers": nil}}, metav1.PatchOptions{})
	},
	"delete": func(ctx context.Context, o client.Objects, t target) error {
		policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
		grace, policy := rand.Int64N(3), policies[rand.IntN(len(policies))]
		_, err := o.Delete(ctx, t.info.GroupVersionResource, t.namespace, t.name, metav1.DeleteOptions{GracePeriodSeconds: &grace, PropagationPolicy: &policy})
		return err
	},
	"scale": func(ctx context.Context, o client.Objects, t target) error {
		scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name}, Spec: autoscalingv1.ScaleSpec{Replicas: rand.Int32N(4)}}
		_, err := o.Update(ctx, t.info.GroupVersionResource, t.namespace, t.name, "scale", scale, metav1.UpdateOptions{})
		return err
	},
	"bind": func(ctx context.Context, o client.Objects, t target) error {
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name}, Target: corev1.ObjectReference{Kind: "Node", Name: NodeName(rand.IntN(10))}}
		_, err := o.Create(ctx, t.info.GroupVersionResource, t.namespace, t.name, "binding", binding, metav1.CreateOptions{})
		return err
	},
	"evict": func(ctx context.Context, o client.Objects, t target) error {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: t.name}}
		_, err := o.Create(ctx, t.info.GroupVersionResource, t.namespace, t.name, "eviction", eviction, metav1.CreateOptions{})
		return err
	},
}

// noted is a patch of the labels and annotations that every object may have.
func noted() any {
	value := fmt.Sprint(rand.Int())
	return map[string]any{"metadata": map[string]any{"labels": map[string]any{"noted": value}, "annotations": map[string]any{"noted": value}}}
}

func (t target) update(ctx context.Context, o client.Objects, subresource string) error {
	obj, err := o.Get(ctx, t.info.GroupVersionResource, t.namespace, t.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	edited := obj.DeepCopyObject().(client.Object)
	annotations := map[string]string{"updated": fmt.Sprint(rand.Int())}
	for key, value := range edited.GetAnnotations() {
		annotations[key] = value
	}
	edited.SetAnnotations(annotations)
	_, err = o.Update(ctx, t.info.GroupVersionResource, t.namespace, t.name, subresource, edited, metav1.UpdateOptions{})
	return err
}

func (t target) patch(ctx context.Context, o client.Objects, subresource string, kind types.PatchType, change any, opts metav1.PatchOptions) error {
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = o.Patch(ctx, t.info.GroupVersionResource, t.namespace, t.name, subresource, kind, patch, opts)
	return err
}

// parts are the ways that only some kinds have.
var parts = map[string][]string{
	"scale": {"deployments", "replicasets"}, "bind": {"pods"}, "evict": {"pods"},
	"status": {"nodes", "pods", "services", "namespaces", "deployments", "replicasets"}, "status patch": {"nodes", "pods", "services", "deployments"},
}

// tally is how often each kind was written to and each way succeeded, by their names.
type tally map[string]int

// least is what was done least often.
func (t tally) least() int {
	least := math.MaxInt
	for name := range ways {
		least = min(least, t[name])
	}
	for _, info := range resource.All() {
		least = min(least, t[info.Resource])
	}
	return least
}

// Churn writes objects of all kinds in all ways, at random and from many sides, until each of them has been done a number of times.
// It answers how often each was.
func (f *Fleet) Churn(ctx context.Context, namespaces, times int) (map[string]int, error) {
	names := slices.Sorted(maps.Keys(ways))
	enough, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	done := tally{}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for enough.Err() == nil {
				way := names[rand.IntN(len(names))]
				if rand.IntN(3) == 0 {
					way = "create" // else most of what is written to would not be there
				}
				t := randomTarget(namespaces, parts[way])
				if ways[way](enough, f.objects, t) != nil {
					continue // it is not there, or another writer was faster
				}
				mu.Lock()
				done[way]++
				done[t.info.Resource]++
				if done.least() >= times {
					stop()
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if done.least() < times {
		return done, fmt.Errorf("not everything was written %d times: %v", times, done)
	}
	return done, nil
}

// randomTarget picks an object of one of the kinds named, or of any.
func randomTarget(namespaces int, kinds []string) target {
	info := resource.All()[rand.IntN(len(resource.All()))]
	for len(kinds) > 0 && !slices.Contains(kinds, info.Resource) {
		info = resource.All()[rand.IntN(len(resource.All()))]
	}
	t := target{info: info, name: fmt.Sprint("churn-", rand.IntN(churnNames))}
	if t.info.Namespaced {
		if t.namespace = NamespaceName(rand.IntN(namespaces)); rand.IntN(3) == 0 {
			t.namespace = fmt.Sprint("churn-", rand.IntN(churnNames)) // one that comes and goes itself
		}
	}
	return t
}

// formats are those in which objects are read.
var formats = []string{
	"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/vnd.kubernetes.protobuf",
	"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json",
}

// Read lists and watches all kinds in all formats from one API server until ctx ends, and answers how many bytes it got.
func Read(ctx context.Context, server string, via *http.Client) (total int64) {
	for ctx.Err() == nil {
		info := resource.All()[rand.IntN(len(resource.All()))]
		root := "/apis/" + info.Group
		if info.Group == "" {
			root = "/api"
		}
		url := server + root + "/" + info.Version + "/" + info.Resource
		if rand.IntN(2) == 0 {
			url += "?watch=1&timeoutSeconds=2&resourceVersion=0"
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return total
		}
		request.Header.Set("Accept", formats[rand.IntN(len(formats))])
		answer, err := via.Do(request)
		if err != nil {
			time.Sleep(retry)
			continue
		}
		n, _ := io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		total += n
	}
	return total
}
