package deployment

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/looptest"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// Random new templates in the midst of rollouts, on caches that are late by random times, with pods that take
// random times to become ready: at no moment are fewer pods available than the bound allows, or
// more there than the surge allows.
func TestRolloutKeepsItsBounds(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { boundedRun(t, seed) })
		})
	}
}

func boundedRun(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	cluster := clienttest.New()
	start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(seed, 2*time.Second)})
	readiness := looptest.RandomDelay(seed+100, 10*time.Second)
	looptest.RunPods(t, cluster, func(*corev1.Pod) (time.Duration, bool) { return readiness(""), true })
	desired := 1 + random.Int32N(8)
	bounds := []struct {
		surge, unavailable string
		up, down           int32
	}{{"1", "0", 1, 0}, {"0", "1", 0, 1}, {"2", "1", 2, 1}, {"100%", "0", desired, 0}}[random.IntN(4)]
	looptest.Create(t, cluster, web(desired, bounds.surge, bounds.unavailable))
	looptest.Settle(2 * time.Minute)
	wantDone(t, cluster, "image:1", desired)

	looptest.OnPods(t, cluster, func(pods []*corev1.Pod) {
		var active, available int32
		for _, pod := range pods {
			if podstate.Active(pod) {
				active++
				if podstate.Ready(pod) {
					available++
				}
			}
		}
		if available < desired-bounds.down {
			t.Errorf("%d pods available of %d, bounds %+v", available, desired, bounds)
		}
		if active > desired+bounds.up {
			t.Errorf("%d pods active of %d, bounds %+v", active, desired, bounds)
		}
	})
	image := ""
	for range 6 {
		image = fmt.Sprintf("image:%d", 1+random.IntN(4))
		setImage(t, cluster, image)
		looptest.Settle(time.Duration(random.Int64N(int64(20 * time.Second))))
	}
	looptest.Settle(10 * time.Minute)
	wantDone(t, cluster, image, desired)
}

// Scaling in the midst of rollouts: whatever the order, what was available stays so as far as both the old
// and the new scale ask for it, and the end is right.
func TestScalingMidRolloutKeepsAvailability(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { scaledRun(t, seed) })
		})
	}
}

func scaledRun(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 8))
	cluster := clienttest.New()
	start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(seed, time.Second)})
	readiness := looptest.RandomDelay(seed+200, 10*time.Second)
	looptest.RunPods(t, cluster, func(*corev1.Pod) (time.Duration, bool) { return readiness(""), true })
	const least = 4
	looptest.Create(t, cluster, web(least, "50%", "1"))
	looptest.Settle(2 * time.Minute)
	var watching atomic.Bool
	watching.Store(true)
	looptest.OnPods(t, cluster, func(pods []*corev1.Pod) {
		var available int
		for _, pod := range pods {
			if podstate.Active(pod) && podstate.Ready(pod) {
				available++
			}
		}
		if watching.Load() && available < least-1 {
			t.Errorf("%d pods available, never fewer than %d were allowed", available, least-1)
		}
	})
	var replicas int32
	image := ""
	for i := range 8 {
		image = fmt.Sprintf("image:%d", 2+i%3)
		replicas = least + random.Int32N(8)
		looptest.Change(t, cluster, "default", "web", func(d *appsv1.Deployment) {
			d.Spec.Replicas = &replicas
			if random.IntN(2) == 0 {
				d.Spec.Template.Spec.Containers[0].Image = image
			}
			image = d.Spec.Template.Spec.Containers[0].Image
		})
		looptest.Settle(time.Duration(random.Int64N(int64(20 * time.Second))))
	}
	looptest.Settle(10 * time.Minute)
	wantDone(t, cluster, image, replicas)
}
