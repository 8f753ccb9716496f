package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ctlplane/ctlplane/api/resource"
)

// discovery is what the server tells of the kinds that it has, in the forms that clients of all ages ask for.
type discovery struct {
	core, groups *aggregate // by the version of the form
	coreVersions *metav1.APIVersions
	groupList    *metav1.APIGroupList
	lists        map[schema.GroupVersion]*metav1.APIResourceList
}

// aggregate is one aggregated document, encoded.
type aggregate struct {
	bodies map[string][]byte // by version: v2, v2beta1
	etags  map[string]string
}

func newDiscovery(infos []*resource.Info, subresources func(*resource.Info) []string) (*discovery, error) {
	d := &discovery{
		coreVersions: &metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{},
		},
		groupList: &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}},
		lists:     map[schema.GroupVersion]*metav1.APIResourceList{},
	}
	byVersion := map[schema.GroupVersion][]*resource.Info{}
	var versions []schema.GroupVersion
	for _, info := range infos {
		gv := info.GroupVersion()
		if byVersion[gv] == nil {
			versions = append(versions, gv)
		}
		byVersion[gv] = append(byVersion[gv], info)
	}
	var core, named []discoveryv2.APIGroupDiscovery
	for _, gv := range versions {
		group := aggregatedGroup(gv, byVersion[gv], subresources)
		d.lists[gv] = resourceList(gv, group.Versions[0].Resources)
		if gv.Group == "" {
			core = append(core, group)
			continue
		}
		named = append(named, group)
		d.groupList.Groups = append(d.groupList.Groups, *groupOf(gv))
	}
	var err error
	if d.core, err = newAggregate(core); err != nil {
		return nil, err
	}
	d.groups, err = newAggregate(named)
	return d, err
}

func aggregatedGroup(gv schema.GroupVersion, infos []*resource.Info, subresources func(*resource.Info) []string) discoveryv2.APIGroupDiscovery {
	version := discoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: discoveryv2.DiscoveryFreshnessCurrent}
	for _, info := range infos {
		version.Resources = append(version.Resources, aggregatedResource(info, subresources(info)))
	}
	slices.SortFunc(version.Resources, func(a, b discoveryv2.APIResourceDiscovery) int { return strings.Compare(a.Resource, b.Resource) })
	return discoveryv2.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Group},
		Versions:   []discoveryv2.APIVersionDiscovery{version},
	}
}

// resourceVerbs lists what can be done with a kind, wherever that is.
func resourceVerbs(info *resource.Info) []string {
	verbs := []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	if !info.DeletesCollection() {
		verbs = slices.DeleteFunc(verbs, func(verb string) bool { return verb == "deletecollection" })
	}
	return verbs
}

func aggregatedResource(info *resource.Info, subresources []string) discoveryv2.APIResourceDiscovery {
	scope := discoveryv2.ScopeCluster
	if info.Namespaced {
		scope = discoveryv2.ScopeNamespace
	}
	r := discoveryv2.APIResourceDiscovery{
		Resource: info.Resource, SingularResource: info.Singular, Scope: scope, Verbs: resourceVerbs(info),
		ResponseKind: kindOf(info.GroupVersionKind()), ShortNames: info.ShortNames, Categories: info.Categories,
	}
	sorted := slices.Clone(subresources)
	slices.Sort(sorted)
	for _, name := range sorted {
		r.Subresources = append(r.Subresources, discoveryv2.APISubresourceDiscovery{
			Subresource: name, Verbs: verbsOf(target{name: "x", subresource: name}), ResponseKind: kindOf(subresourceKind(info, name)),
		})
	}
	return r
}

// subresourceKind is the kind that a subresource takes and gives.
func subresourceKind(info *resource.Info, name string) schema.GroupVersionKind {
	switch name {
	case "scale":
		return schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
	case "binding":
		return schema.GroupVersionKind{Version: "v1", Kind: "Binding"}
	case "eviction":
		return schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}
	}
	return info.GroupVersionKind()
}

func kindOf(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}

// resourceList is the older form of a group version's part of the aggregated document.
func resourceList(gv schema.GroupVersion, resources []discoveryv2.APIResourceDiscovery) *metav1.APIResourceList {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, r := range resources {
		namespaced := r.Scope == discoveryv2.ScopeNamespace
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.Resource, SingularName: r.SingularResource, Namespaced: namespaced, Kind: r.ResponseKind.Kind,
			Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories,
			StorageVersionHash: storageVersionHash(gv.WithKind(r.ResponseKind.Kind)),
		})
		for _, s := range r.Subresources {
			sub := metav1.APIResource{Name: r.Resource + "/" + s.Subresource, Namespaced: namespaced, Kind: s.ResponseKind.Kind, Verbs: s.Verbs}
			if s.ResponseKind.Group != gv.Group || s.ResponseKind.Version != gv.Version {
				sub.Group, sub.Version = s.ResponseKind.Group, s.ResponseKind.Version
			}
			list.APIResources = append(list.APIResources, sub)
		}
	}
	return list
}

// storageVersionHash tells clients apart in which version a kind is stored, in the form that Kubernetes gives it.
func storageVersionHash(gvk schema.GroupVersionKind) string {
	sum := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func groupOf(gv schema.GroupVersion) *metav1.APIGroup {
	version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
	return &metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: gv.Group,
		Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
}

// newAggregate encodes a document. Its two versions differ only in what they call themselves.
func newAggregate(groups []discoveryv2.APIGroupDiscovery) (*aggregate, error) {
	a := &aggregate{bodies: map[string][]byte{}, etags: map[string]string{}}
	for _, version := range []string{"v2", "v2beta1"} {
		body, err := json.Marshal(discoveryv2.APIGroupDiscoveryList{
			TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/" + version}, Items: groups,
		})
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		a.bodies[version], a.etags[version] = body, `"`+hex.EncodeToString(sum[:])+`"`
	}
	return a, nil
}

// serve answers with the aggregated document if that is what the client wants.
func (a *aggregate) serve(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Accept")
	version := aggregatedVersion(r)
	if version == "" {
		return false
	}
	w.Header().Set("ETag", a.etags[version])
	w.Header().Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == a.etags[version] {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	body := newBody(w, r, "application/json;g=apidiscovery.k8s.io;v="+version+";as=APIGroupDiscoveryList", http.StatusOK)
	if _, err := body.Write(a.bodies[version]); err == nil {
		_ = body.Close() // a client that has gone away has nothing to be told
	}
	return true
}

func (d *discovery) serveCore(h *Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !d.core.serve(w, r) {
			h.serveDocument(w, r, d.coreVersions)
		}
	}
}

func (d *discovery) serveGroups(h *Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !d.groups.serve(w, r) {
			h.serveDocument(w, r, d.groupList)
		}
	}
}

// serveGroup finds the document of one group or group version; nil when there is none.
func (d *discovery) serveGroup(h *Handler, path string) http.HandlerFunc {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	var document runtime.Object
	switch {
	case len(parts) == 2 && parts[0] == "api":
		document = known(d.lists, schema.GroupVersion{Version: parts[1]})
	case len(parts) == 3 && parts[0] == "apis":
		document = known(d.lists, schema.GroupVersion{Group: parts[1], Version: parts[2]})
	case len(parts) == 2 && parts[0] == "apis":
		for i := range d.groupList.Groups {
			if group := &d.groupList.Groups[i]; group.Name == parts[1] {
				document = group
			}
		}
	}
	if document == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) { h.serveDocument(w, r, document) }
}

func known(lists map[schema.GroupVersion]*metav1.APIResourceList, gv schema.GroupVersion) runtime.Object {
	if list, ok := lists[gv]; ok {
		return list
	}
	return nil
}

// serveDocument answers with an object that is not of a resource.
func (h *Handler) serveDocument(w http.ResponseWriter, r *http.Request, obj runtime.Object) {
	f, err := negotiate(r, false)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, f, http.StatusOK, obj)
}

// customKinds is where kubectl looks for kinds that discovery doesn't tell of.
const customKinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// serveNoCustomKinds answers that there are none. Without that answer kubectl reports a failed lookup
// where it should say that a manifest's kind is unknown.
func (h *Handler) serveNoCustomKinds(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, map[string]any{
		"kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
		"metadata": map[string]string{"resourceVersion": "0"}, "items": []any{},
	})
}
