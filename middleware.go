package tidings

import "context"

// A HandlerFunc runs one handler for one event. It is the handler itself or a part of
// its chain of [Middleware].
type HandlerFunc func(ctx context.Context, d Delivery) error

// A Middleware wraps a handler, for example to log, to measure or to retry. next runs
// the rest of the chain. The Middleware is called once, when the handler is
// subscribed. The HandlerFunc that it returns is called for every event, from several
// goroutines at once, wherever the handler runs: in the publisher's goroutine, on an
// [Async] worker, or when a transport delivers the event.
//
//	func Timed(next tidings.HandlerFunc) tidings.HandlerFunc {
//		return func(ctx context.Context, d tidings.Delivery) error {
//			start := time.Now()
//			err := next(ctx, d)
//			slog.InfoContext(ctx, "handled", "handler", d.Handler(), "took", time.Since(start), "error", err)
//			return err
//		}
//	}
//
// A middleware may pass a context derived from ctx to next. If it calls next again,
// to retry, the handler gets a new copy of the event. A panic of the handler reaches
// the middleware as a [*PanicError]. A Middleware is a [SubscribeOption];
// [WithMiddleware] applies it to all handlers of a bus.
type Middleware func(next HandlerFunc) HandlerFunc

// A Delivery is one event on its way to one handler.
type Delivery struct {
	sub  *Subscription
	node *node // the context of the handler, before middleware
}

// Event returns the event as it was published. Each call returns a new copy, so
// changes that the handler makes to its copy do not show in it.
func (d Delivery) Event() Event { return d.node.boxed() }

// Handler returns the name given with [Named], or the function's name.
func (d Delivery) Handler() string { return d.sub.name }

// Named reports whether Handler returns a name given with [Named], which lasts, and
// not a function's name, which may change when the code is refactored.
func (d Delivery) Named() bool { return d.sub.named }

// Phase returns the phase in which the handler runs.
func (d Delivery) Phase() Phase { return d.sub.phase }
