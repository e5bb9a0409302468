package tidings

import (
	"context"
	"errors"
)

// A Service is a part of a program that runs until the program ends: an [EventBus],
// the jobs of module durable, a relay. One that also has a method
// Start(context.Context) error is started first.
type Service interface {
	// Close is a graceful shutdown. It waits for what runs; if ctx ends before that,
	// it interrupts what it can and returns an error soon after.
	Close(ctx context.Context) error
}

// Services are the services of a program, each after those that it uses: the bus, on
// which all handlers publish; the relay; the jobs, some of which send through the relay.
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
// An event log needs neither: it ends with its database, which is closed last.
type Services []Service

// Start starts the services one after the other, each with ctx. It ends with the first
// that fails; call Close then as well.
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

// Close closes all services, the last one first, so that each can use those before it
// until its own work is done. It returns all their errors.
func (s Services) Close(ctx context.Context) error {
	var errs []error
	for i := len(s) - 1; i >= 0; i-- {
		errs = append(errs, s[i].Close(ctx))
	}
	return errors.Join(errs...)
}
