package eventlog_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A driver that wraps that of pgx, as those for traces do, is none of which
// the log knows that it takes slices.
type otherConnector struct{ driver.Connector }

func (c otherConnector) Driver() driver.Driver { return otherDriver{c.Connector.Driver()} }

type otherDriver struct{ driver.Driver }

func TestAppendThroughAnotherDriver(t *testing.T) {
	t.Parallel()
	url := postgresSchema(t)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	db := sql.OpenDB(otherConnector{stdlib.GetConnector(*config)})
	h := sqlHarness(t, "postgres", url, db, eventlog.Postgres(db))
	log, bus := h.attached(t)

	at := time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)
	var want []tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
		if e.Total != 0 {
			return nil
		}
		effect := tidings.Stamp(ctx, Accepted{Number: "effect", Total: 1}) // which has a cause
		want = append(want, effect)
		return tidings.Publish(ctx, bus, effect)
	}, tidings.InTransaction)
	require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
		for _, number := range []string{`a "q" \ {,} é`, "", "NULL", "line\nend\x00"} {
			e := tidings.Stamp(ctx, Accepted{Number: number})
			want = append(want, e)
			if err := tidings.Publish(ctx, bus, e); err != nil {
				return err
			}
		}
		return nil
	}))
	records, err := log.AppendTo(t.Context(), `s "x",{}`, eventlog.NoStream, Created{Client: "1"}, Created{Client: "2"})
	require.NoError(t, err)
	imported := fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/x","type":"clients.created","time":"%s","data":{"client":"3"}}`, uuid.New(), at.Format(time.RFC3339Nano))
	_, err = log.Import(t.Context(), strings.NewReader(imported+"\n"+fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/x","type":"clients.created","time":"%s","data":{"client":"4"}}`, uuid.New(), at.Format(time.RFC3339Nano))))
	require.NoError(t, err)

	got := all(t, log)
	var events []tidings.Event
	for _, r := range got[:len(want)] {
		events = append(events, r.Event)
	}
	require.ElementsMatch(t, want, events)
	require.Equal(t, records, got[len(want):len(want)+2])
	require.Equal(t, "3 4", numbers(got[len(want)+2:]))
	require.Equal(t, at, got[len(got)-1].Event.OccurredAt())
}
