package deployment

import (
	"context"

	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// recreate stops all old pods, waits until the last has gone, and only then starts new ones.
func (c *Controller) recreate(ctx context.Context, r *rollout) error {
	if err := c.keepRevisions(ctx, r); err != nil {
		return err
	}
	next := plan{}
	for i, s := range sizesOf(r.old) {
		if s.replicas > 0 {
			next[r.old[i].Name] = 0
		}
	}
	if len(next) > 0 {
		return c.resize(ctx, r, next)
	}
	if pods(r.old) > 0 || c.oldPodsRun(r) {
		return nil
	}
	if err := c.ensureCurrent(ctx, r); err != nil {
		return err
	}
	return c.resize(ctx, r, plan{r.current.Name: r.desired()})
}

// oldPodsRun tells whether a pod of an old set hasn't ended, be it that it is only about to.
func (c *Controller) oldPodsRun(r *rollout) bool {
	for _, set := range r.old {
		for _, pod := range c.pods.By(cached.ByController, cached.Controller(set)) {
			if !podstate.Ended(pod) {
				return true
			}
		}
	}
	return false
}
