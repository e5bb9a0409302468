package tidings_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A worker is a service that notes what is called.
type worker struct {
	name      string
	diary     *diary
	startErr  error
	closeErr  error
	published *tidings.EventBus // on which it publishes its last event
}

func (w *worker) Start(context.Context) error {
	w.diary.add("start %s", w.name)
	return w.startErr
}

func (w *worker) Close(ctx context.Context) error {
	w.diary.add("close %s", w.name)
	if w.published != nil {
		if err := tidings.Publish(ctx, w.published, clientCreated{ClientID: 3}); err != nil {
			return err
		}
	}
	return w.closeErr
}

func TestServices(t *testing.T) {
	t.Parallel()
	d, bus := &diary{}, tidings.New()
	tidings.Subscribe(bus, writes[clientCreated](d, "handled"))
	relay, jobs := &worker{name: "relay", diary: d}, &worker{name: "jobs", diary: d, published: bus}
	services := tidings.Services{bus, relay, jobs}
	require.NoError(t, services.Start(t.Context()))
	require.Equal(t, []string{"start relay", "start jobs"}, d.read(), "a bus has nothing to start")
	require.NoError(t, services.Close(t.Context()))
	require.Equal(t, []string{"start relay", "start jobs", "close jobs", "handled", "close relay"}, d.read(), "the bus is open until the end")
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, clientCreated{}), tidings.ErrClosed)
	require.NoError(t, tidings.Services(nil).Start(t.Context()))
	require.NoError(t, tidings.Services(nil).Close(t.Context()))
}

func TestServicesThatFail(t *testing.T) {
	t.Parallel()
	d := &diary{}
	errRelay, errJobs := errors.New("no broker"), errors.New("no table")
	services := tidings.Services{
		&worker{name: "relay", diary: d, startErr: errRelay, closeErr: errRelay},
		&worker{name: "jobs", diary: d, closeErr: errJobs},
	}
	require.Equal(t, errRelay, services.Start(t.Context()))
	require.Equal(t, []string{"start relay"}, d.read())
	require.EqualError(t, services.Close(t.Context()), "no table\nno broker")
	require.Equal(t, []string{"start relay", "close jobs", "close relay"}, d.read(), "all are closed")
}
