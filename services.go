package tidings

import (
	"context"
	"errors"
)

// A Service is a part of a program that runs in the background until the program ends:
// an [EventBus], the jobs of module durable, a relay. If a Service also has a method
// Start(context.Context) error, [Services.Start] calls it.
type Service interface {
	// Close shuts the service down gracefully: it waits for running work. If ctx ends
	// before that, Close interrupts what it can and returns an error soon after.
	Close(ctx context.Context) error
}

// Services starts and closes the services of a program together. List each service
// after the services that it uses: first the bus, on which all handlers publish; then
// the relay; then the jobs, some of which send through the relay.
//
//	services := tidings.Services{bus, r, jobs}
//	if err := services.Start(ctx); err != nil { // once all handlers are subscribed
//		return errors.Join(err, services.Close(ctx))
//	}
//	// ... serve, until a signal ends ctx
//	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
//	defer cancel()
//	return errors.Join(server.Shutdown(grace), services.Close(grace), db.Close())
//
// An event log needs no Start or Close: it stops with its database, which is closed
// last.
type Services []Service

// Start starts the services one after the other. Each gets ctx. Start returns the
// first error, and does not start the remaining services; call Close then too.
func (s Services) Start(ctx context.Context) error {
	for _, service := range s {
		if starter, ok := service.(interface{ Start(context.Context) error }); ok {
			if err := starter.Start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes all services, the last one first, so that each can use the earlier
// ones until its own work is done. It returns all errors, joined with [errors.Join].
func (s Services) Close(ctx context.Context) error {
	var errs []error
	for i := len(s) - 1; i >= 0; i-- {
		errs = append(errs, s[i].Close(ctx))
	}
	return errors.Join(errs...)
}
