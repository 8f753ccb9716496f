package registry_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

// view is what a reader knows: each object's version.
type view map[string]string

// reader lists, watches from there, and checks what it sees on the way:
//
//  1. No event is older than the one before it, or than the list.
//  2. An object is added only when it isn't there, modified or deleted only when it is.
type reader struct {
	view view
	last int64
}

func (r *reader) take(ev watch.Event) error {
	obj, ok := ev.Object.(*corev1.ConfigMap)
	if !ok {
		return fmt.Errorf("%s: %v", ev.Type, apierrors.FromObject(ev.Object))
	}
	version, err := strconv.ParseInt(obj.ResourceVersion, 10, 64)
	if err != nil || version <= r.last {
		return fmt.Errorf("%s of %s at %s comes after %d", ev.Type, obj.Name, obj.ResourceVersion, r.last)
	}
	_, known := r.view[obj.Name]
	if known == (ev.Type == watch.Added) {
		return fmt.Errorf("%s of %s, which is known: %t", ev.Type, obj.Name, known)
	}
	r.last = version
	if ev.Type == watch.Deleted {
		delete(r.view, obj.Name)
	} else {
		r.view[obj.Name] = obj.ResourceVersion
	}
	return nil
}

func (f *fixture) newReader(ctx context.Context, selector string, pageSize int64) (*reader, watch.Interface, error) {
	opts := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	r := &reader{view: view{}}
	for {
		list, err := f.List(ctx, configMaps, "default", opts)
		if err != nil {
			return nil, nil, err
		}
		page := list.(*corev1.ConfigMapList)
		for i := range page.Items {
			r.view[page.Items[i].Name] = page.Items[i].ResourceVersion
		}
		if opts.Continue = page.Continue; opts.Continue != "" {
			continue
		}
		if r.last, err = strconv.ParseInt(page.ResourceVersion, 10, 64); err != nil {
			return nil, nil, err
		}
		w, err := f.Watch(ctx, configMaps, "default", metav1.ListOptions{LabelSelector: selector, ResourceVersion: page.ResourceVersion})
		return r, w, err
	}
}

// TestReadersConverge has writers change few objects in many ways while readers come at any time, with
// and without selectors, from memory and from the store's history. In the end each of them knows
// exactly what the store holds.
func TestReadersConverge(t *testing.T) {
	for _, history := range []int{8, 10000} {
		t.Run(fmt.Sprintf("history=%d", history), func(t *testing.T) {
			f := newFixture(t, registry.Options{History: history})
			var writers, readers, begun sync.WaitGroup
			begun.Add(12)
			for seed := range 4 {
				writers.Go(func() { f.scribble(t, uint64(seed), 150) })
			}
			const done = "done"
			for i := range 12 {
				selector := []string{"", "color=red", "color!=red"}[i%3]
				readers.Go(func() { f.follow(t, selector, int64(i%4), done, begun.Done) })
			}
			writers.Wait()
			begun.Wait()
			last := newConfigMap(done)
			for _, color := range []string{"red", "blue"} { // whichever a reader selects, one change of it is its last
				last.Labels = map[string]string{"color": color}
				last.Annotations = map[string]string{"final": strconv.FormatBool(color == "blue")}
				if _, err := client.For[*corev1.ConfigMap](f).Update(f.ctx, last); apierrors.IsNotFound(err) {
					must(client.For[*corev1.ConfigMap](f).Create(f.ctx, last))(t)
				}
			}
			readers.Wait()
		})
	}
}

// scribble makes random writes. Those that lose a race are no failures.
func (f *fixture) scribble(t *testing.T, seed uint64, n int) {
	random := rand.New(rand.NewPCG(seed, 1))
	objects := client.For[*corev1.ConfigMap](f)
	for i := range n {
		name := fmt.Sprintf("o%d", random.IntN(6))
		color := []string{"red", "blue"}[random.IntN(2)]
		var err error
		switch random.IntN(4) {
		case 0:
			obj := newConfigMap(name)
			obj.Labels = map[string]string{"color": color}
			_, err = objects.Create(f.ctx, obj)
		case 1:
			err = objects.Delete(f.ctx, "default", name, metav1.DeleteOptions{})
		default:
			_, err = objects.Patch(f.ctx, "default", name, "", types.MergePatchType,
				fmt.Appendf(nil, `{"metadata":{"labels":{"color":%q}},"data":{"key":"%d-%d"}}`, color, seed, i))
		}
		if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			t.Errorf("write: %v", err)
		}
	}
}

// follow reads until it has seen the last write, and compares with what the store holds.
func (f *fixture) follow(t *testing.T, selector string, pageSize int64, done string, begun func()) {
	r, w, err := f.newReader(f.ctx, selector, pageSize)
	begun()
	if err != nil {
		t.Errorf("reader of %q: %v", selector, err)
		return
	}
	defer w.Stop()
	for final := false; !final; {
		ev, open := <-w.ResultChan()
		if !open {
			t.Errorf("reader of %q: the watch ended", selector)
			return
		}
		if err := r.take(ev); err != nil {
			t.Errorf("reader of %q: %v", selector, err)
			return
		}
		obj := ev.Object.(*corev1.ConfigMap)
		final = obj.Name == done && (selector == "color=red" && ev.Type == watch.Deleted || obj.Annotations["final"] == "true")
	}
	stored, err := f.List(f.ctx, configMaps, "default", metav1.ListOptions{LabelSelector: selector, // from the store itself
		ResourceVersion: strconv.FormatInt(f.storage.Revision(), 10), ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil {
		t.Errorf("reader of %q: %v", selector, err)
		return
	}
	there := view{}
	for i := range stored.(*corev1.ConfigMapList).Items {
		obj := &stored.(*corev1.ConfigMapList).Items[i]
		there[obj.Name] = obj.ResourceVersion
	}
	if !maps.Equal(r.view, there) {
		t.Errorf("reader of %q knows %v, there is %v", selector, r.view, there)
	}
}
