package supervise

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/cache"
)

var clientGo sync.Once

// ContainClientGo has the goroutines that client-go starts itself, such as those of informers and work queues, go on after a panic: by
// default they end the process. It is called once, before there are any, by who runs the process.
func ContainClientGo(logger *slog.Logger) {
	clientGo.Do(func() {
		runtime.ReallyCrash = false
		runtime.PanicHandlers = []func(context.Context, any){func(_ context.Context, value any) { _ = Caught("client-go", logger, value) }}
	})
}

// Handler contains the panics of an informer's handler: the event is passed over, and those after it are handled.
func Handler(where string, logger *slog.Logger, handler cache.ResourceEventHandler) cache.ResourceEventHandler {
	return containedHandler{handler, where, logger}
}

type containedHandler struct {
	handler cache.ResourceEventHandler
	where   string
	logger  *slog.Logger
}

// OnAdd implements cache.ResourceEventHandler.
func (h containedHandler) OnAdd(obj any, initial bool) {
	Do(h.where, h.logger, func() { h.handler.OnAdd(obj, initial) })
}

// OnUpdate implements cache.ResourceEventHandler.
func (h containedHandler) OnUpdate(before, now any) {
	Do(h.where, h.logger, func() { h.handler.OnUpdate(before, now) })
}

// OnDelete implements cache.ResourceEventHandler.
func (h containedHandler) OnDelete(obj any) {
	Do(h.where, h.logger, func() { h.handler.OnDelete(obj) })
}
