package amqp

import (
	"context"

	"github.com/rabbitmq/amqp091-go"
)

// A declarer shares one desk between all occasional declarations, since a
// server is not made for channels that are opened only briefly.
type declarer struct {
	connections *shared[*amqp091.Connection]
	turn        chan struct{} // has an element while the desk is in use
	connection  *amqp091.Connection
	desk        *desk
}

func newDeclarer(connections *shared[*amqp091.Connection]) *declarer {
	return &declarer{connections: connections, turn: make(chan struct{}, 1)}
}

// do calls f with the desk. It continues when ctx ends, and other calls wait.
func (d *declarer) do(ctx context.Context, f func(*desk) error) error {
	connection, err := d.connections.get(ctx)
	if err != nil {
		return err
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err = await(ctx, func() (none struct{}, err error) {
		defer func() { <-d.turn }()
		if d.connection != connection {
			d.connection, d.desk = connection, &desk{open: connection.Channel}
		}
		return none, f(d.desk)
	}, func(struct{}) {})
	return err
}
