package tidings

import "context"

// A HandlerFunc runs one handler for one event, somewhere in a chain of
// [Middleware].
type HandlerFunc func(ctx context.Context, d Delivery) error

// A Middleware wraps a handler: next runs the rest of the chain. It is
// called once, when the handler is subscribed; what it returns is called
// for every event, from several goroutines at once, wherever the handler
// runs: in the publisher's goroutine, on an [Async] worker, or when a
// transport delivers.
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
// The context may be replaced by one derived from it. If next is called
// again, for a second attempt, the handler gets a new copy of the event. A
// panic of the handler reaches the middleware as a [*PanicError]. A Middleware
// is a [SubscribeOption]; for all handlers of a bus use [WithMiddleware].
type Middleware func(next HandlerFunc) HandlerFunc

// A Delivery is one event on its way to one handler.
type Delivery struct {
	sub  *Subscription
	node *node // the context of the handler, before middleware
}

// Event returns the event as it was published: another copy each time, so what
// the handler does to its copy does not show in it.
func (d Delivery) Event() Event { return d.node.boxed() }

// Handler returns the name given with [Named], or the function's name.
func (d Delivery) Handler() string { return d.sub.name }

// Named reports whether Handler is a name given with [Named], which lasts, and
// not a function's name, which a refactoring changes.
func (d Delivery) Named() bool { return d.sub.named }

// Phase returns the phase that the handler runs in.
func (d Delivery) Phase() Phase { return d.sub.phase }
