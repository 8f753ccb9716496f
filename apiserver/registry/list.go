package registry

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ctlplane/ctlplane/kv"
)

// storePage is how many objects a list of an old revision reads from the store at a time.
const storePage = 500

// selectionRequest is a call that is about many objects.
type selectionRequest struct {
	*request
	selection selection
}

// beginSelection begins a call on the objects that opts selects.
func (r *Registry) beginSelection(ctx context.Context, verb string, gvr schema.GroupVersionResource, namespace string, opts *metav1.ListOptions) (*selectionRequest, error) {
	q, err := r.newRequest(ctx, verb, gvr, namespace, "", "")
	if err != nil {
		return nil, err
	}
	s, err := newSelection(q.kind, namespace, opts)
	if err != nil {
		return nil, err
	}
	q.attributes.LabelSelector, q.attributes.FieldSelector = s.labels, s.fields
	if name, pinned := s.fields.RequiresExactMatch(nameField); pinned {
		q.attributes.Name = name
	}
	return &selectionRequest{request: q, selection: s}, r.authorize(ctx, q)
}

// List reads the objects of a namespace, of all when it is empty.
func (r *Registry) List(ctx context.Context, gvr schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	q, err := r.beginSelection(ctx, "list", gvr, namespace, &opts)
	if err != nil {
		return nil, err
	}
	page, err := r.list(ctx, q, &opts)
	if err != nil {
		return nil, err
	}
	return page.object(q.kind), nil
}

// page is what a list found.
type page struct {
	entries   []*entry
	revision  int64
	next      string // where the list goes on; empty: it is complete
	remaining *int64 // how many objects follow, when that is known
}

func (p *page) object(k *kind) runtime.Object {
	list := k.newList(p.entries, formatRevision(p.revision))
	if m, err := meta.ListAccessor(list); err == nil && p.next != "" {
		m.SetContinue(continueToken{Revision: p.revision, Start: p.next}.String())
		m.SetRemainingItemCount(p.remaining)
	}
	return list
}

// list finds the version of the collection that opts asks for, and reads it.
func (r *Registry) list(ctx context.Context, q *selectionRequest, opts *metav1.ListOptions) (*page, error) {
	if err := checkListOptions(opts); err != nil {
		return nil, err
	}
	if opts.Continue != "" {
		return r.listOn(ctx, q, opts)
	}
	revision, err := parseVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	switch {
	case opts.ResourceVersion == "":
		err = r.refresh(ctx)
	case opts.ResourceVersionMatch == metav1.ResourceVersionMatchExact:
		return r.listStored(ctx, q, "", revision, opts.Limit)
	default:
		err = r.reach(ctx, revision)
	}
	if err != nil {
		return nil, err
	}
	return listCached(q, "", opts.Limit)
}

// listOn reads the next page of a list.
func (r *Registry) listOn(ctx context.Context, q *selectionRequest, opts *metav1.ListOptions) (*page, error) {
	token, err := parseContinue(opts.Continue, q.selection.prefix())
	if err != nil {
		return nil, err
	}
	if token.Revision == newestRevision {
		if err := r.refresh(ctx); err != nil {
			return nil, err
		}
		return listCached(q, token.Start, opts.Limit)
	}
	found, err := r.listStored(ctx, q, token.Start, token.Revision, opts.Limit)
	if apierrors.IsResourceExpired(err) {
		return nil, expiredContinue(token)
	}
	return found, err
}

// expiredContinue tells a client that its list is too old to go on with, and gives it a token with
// which it may go on over what is newest, at the price of a list that was at no time true.
func expiredContinue(token continueToken) error {
	err := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
		"Continuing with the provided token results in an inconsistent list.")
	err.ErrStatus.ListMeta.Continue = continueToken{Revision: newestRevision, Start: token.Start}.String()
	return err
}

// listCached reads the newest state.
func listCached(q *selectionRequest, start string, limit int64) (*page, error) {
	candidates, revision, err := q.kind.cache.candidates(q.selection, start)
	if err != nil {
		return nil, err
	}
	p := &page{revision: revision}
	var following int64
	candidates(func(e *entry) bool {
		switch {
		case p.next != "":
			following++
		case !q.selection.matches(e):
		case limit > 0 && int64(len(p.entries)) == limit:
			p.next = e.key
			following++
			return q.selection.all() // the rest is only counted, and only when all of it counts
		default:
			p.entries = append(p.entries, e)
		}
		return true
	})
	if p.next != "" && q.selection.all() {
		p.remaining = &following
	}
	return p, nil
}

// listStored reads the state at an earlier revision.
func (r *Registry) listStored(ctx context.Context, q *selectionRequest, start string, revision, limit int64) (*page, error) {
	prefix := q.selection.prefix()
	req := &pb.RangeRequest{
		Key: q.kind.storeKey(max(prefix, start)), RangeEnd: prefixEnd(q.kind.prefix + prefix),
		Revision: revision, Limit: storePage,
	}
	p := &page{revision: revision}
	for {
		resp, err := r.storage.Range(ctx, req)
		if errors.Is(err, kv.ErrFutureRevision) {
			return nil, r.tooLarge(ctx, revision)
		}
		if err != nil {
			return nil, readError(err)
		}
		for i, pair := range resp.Kvs {
			e, err := q.kind.entryOf(string(pair.Key[len(q.kind.prefix):]), pair)
			if err != nil {
				return nil, err
			}
			if !q.selection.matches(e) {
				continue
			}
			if limit > 0 && int64(len(p.entries)) == limit {
				p.next = e.key
				if remaining := resp.Count - int64(i); q.selection.all() {
					p.remaining = &remaining
				}
				return p, nil
			}
			p.entries = append(p.entries, e)
		}
		if !resp.More || len(resp.Kvs) == 0 {
			return p, nil
		}
		req.Key = append(slices.Clone(resp.Kvs[len(resp.Kvs)-1].Key), 0)
	}
}

func (r *Registry) tooLarge(ctx context.Context, revision int64) error {
	current, err := currentRevision(ctx, r.storage)
	if err != nil {
		return err
	}
	return tooLarge(revision, current)
}
