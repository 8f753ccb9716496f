package pods

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/agent/record"
)

// patience is how long a starting agent waits for the masters before it goes on with the pods that it remembers.
const patience = 10 * time.Second

func (m *Manager) checkpoint(uid types.UID) string { return filepath.Join(m.podDir(uid), "pod.json") }

// remember keeps the pod on disk, so that an agent that starts while the masters are away can look after it.
func (w *worker) remember(pod *corev1.Pod) {
	if w.remembered != nil && equality.Semantic.DeepEqual(w.remembered.Spec, pod.Spec) && w.remembered.DeletionTimestamp.Equal(pod.DeletionTimestamp) {
		return
	}
	path := w.m.checkpoint(pod.UID)
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = record.Write(path, pod)
	}
	if err != nil {
		w.log.Warn("remember a pod for times without masters", "error", err)
		return
	}
	w.remembered = pod
}

// recall reads a pod that was remembered.
func (m *Manager) recall(uid types.UID) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := record.Read(m.checkpoint(uid), pod); err != nil {
		return nil, err
	}
	if pod.UID != uid {
		return nil, fmt.Errorf("%s is of another pod, %s", m.checkpoint(uid), pod.UID)
	}
	return pod, nil
}

// begin waits until the cluster has told which pods there are. When that takes long, the pods that are remembered
// are looked after meanwhile. It returns false when ctx ended first.
func (m *Manager) begin(ctx context.Context, synced ...cache.InformerSynced) bool {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan bool, 1)
	go func() { done <- cache.WaitForCacheSync(waiting.Done(), synced...) }()
	timer := m.clock.NewTimer(patience)
	defer timer.Stop()
	select {
	case ok := <-done:
		return ok
	case <-timer.C():
	}
	m.log.Warn("the masters don't answer: look after the pods that were here before")
	m.resume(ctx)
	return <-done
}

// resume starts a worker for each pod that is remembered and has a sandbox.
func (m *Manager) resume(ctx context.Context) {
	entries, err := os.ReadDir(m.podDir(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Error("look for the pods that were here before", "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, entry := range entries {
		uid := types.UID(entry.Name())
		pod, err := m.recall(uid)
		if err != nil {
			continue // a pod that had not begun
		}
		if _, ok := m.workers[uid]; !ok {
			m.start(ctx, pod, false)
		}
	}
}

// dismiss ends the pods that were resumed and that the cluster, now that it answers, does not have; the caller
// holds the lock.
func (m *Manager) dismiss() {
	for uid, w := range m.workers {
		pod, _ := w.current()
		obj, ok, err := m.podInformer.GetStore().GetByKey(pod.Namespace + "/" + pod.Name)
		if err == nil && (!ok || obj.(*corev1.Pod).UID != uid) {
			w.disappear(false)
		}
	}
}
