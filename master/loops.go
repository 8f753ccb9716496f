package master

import (
	"context"
	"log/slog"
)

// lead runs f while this master leads, once a term of leadership, and waits for its end when leadership
// goes. It returns when ctx ends or the member closes the channel.
func lead(ctx context.Context, leadership <-chan bool, log *slog.Logger, f func(context.Context) error) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads, open := <-leadership:
			end()
			end = func() {}
			if !open {
				return
			}
			if leads {
				log.Info("this master leads: the control loops run here")
				end = begin(ctx, log, f)
			}
		}
	}
}

// begin starts f and answers how to end it: the answer returns when f has.
func begin(ctx context.Context, log *slog.Logger, f func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			log.Error("the control loops ended", "err", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
