package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// other opens an empty database of another dialect, if there is one.
func (h harness) other(t *testing.T) harness {
	t.Helper()
	if h.postgres() || os.Getenv("TIDINGS_POSTGRES_URL") == "" {
		return openSQLite(t)
	}
	return openPgx(t)
}

func export(t *testing.T, log *eventlog.Log, filters ...eventlog.Filter) string {
	t.Helper()
	var b bytes.Buffer
	n, err := log.Export(t.Context(), &b, filters...)
	require.NoError(t, err)
	require.EqualValues(t, strings.Count(b.String(), "\n"), n)
	return b.String()
}

// exported are lines as Export writes them.
const exported = `{"specversion":"1.0","id":"01978000-0000-7000-8000-000000000001","source":"tidings","type":"crm.accepted","time":"2026-03-01T09:30:00.123456Z","datacontenttype":"application/json","dataversion":1,"correlationid":"01978000-0000-7000-8000-000000000001","data":{"number":"é \" \\ <&> \u003c \u0000 {,}","total":12345678901234567},"recordedat":"2026-03-01T09:30:00.2Z"}
{"specversion":"1.0","id":"01978000-0000-7000-8000-000000000002","source":"tidings","type":"gone.event","time":"1969-12-31T23:59:59.999999Z","datacontenttype":"application/json","dataversion":2147483647,"correlationid":"01978000-0000-7000-8000-000000000001","causationid":"01978000-0000-7000-8000-000000000001","data":[1, 2.50, {"b":1,"a":1,"b":2}],"recordedat":"2026-03-01T09:30:01Z","stream":"account \"7\" \\ é","streamversion":1}
{"specversion":"1.0","id":"01978000-0000-7000-8000-000000000003","source":"tidings","type":"crm.accepted","time":"2026-03-01T09:30:02Z","datacontenttype":"application/json","dataversion":1,"correlationid":"01978000-0000-7000-8000-000000000003","data":"a string","recordedat":"2026-02-01T00:00:00Z","stream":"account \"7\" \\ é","streamversion":"9876543210"}
`

func TestExportImportExport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		report, err := log.Import(t.Context(), strings.NewReader(exported))
		require.NoError(t, err)
		require.Equal(t, eventlog.ImportReport{Imported: 3}, report)
		require.Equal(t, exported, export(t, log))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for i := range 1234 {
				if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprintf("<%d>", i), Total: int64(i)}); err != nil {
					return err
				}
			}
			return nil
		}))
		all := export(t, log)
		require.Equal(t, 1237, strings.Count(all, "\n"))

		there, _ := h.other(t).attached(t)
		report, err = there.Import(t.Context(), strings.NewReader(all))
		require.NoError(t, err)
		require.Equal(t, eventlog.ImportReport{Imported: 1237}, report)
		require.Equal(t, all, export(t, there))

		// Once more, and what is there already is skipped.
		_, err = there.DeleteBefore(t.Context(), time.Now(), eventlog.Matching(eventlog.Types("gone.event"), eventlog.Limit(1)), eventlog.IncludeStreams())
		require.NoError(t, err)
		report, err = there.Import(t.Context(), strings.NewReader(all+all))
		require.NoError(t, err)
		require.Equal(t, eventlog.ImportReport{Imported: 1, Skipped: 2*1237 - 1}, report)
		require.Len(t, export(t, there), len(all), "the events are the same")

		lines := strings.SplitAfter(all, "\n")
		require.Equal(t, lines[1]+lines[0], export(t, log, eventlog.Correlation(id(1)), eventlog.Types("gone.event"))+export(t, log, eventlog.Limit(1)))
	})
}

func TestExportOfWhatOthersWrote(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		importLines(t, log, [3]int{1, 0, 0}, [3]int{2, 0, 0})
		h.exec(t, "UPDATE tidings_events SET data = $1 WHERE id = $2", "{\r\n  \"number\": \"<1 2>\"\n}", id(1).String())
		lines := strings.Split(export(t, log), "\n")
		require.Len(t, lines, 3)
		require.Contains(t, lines[0], `"data":{"number":"<1 2>"},"recordedat"`, "an event stays on its line")

		h.exec(t, "UPDATE tidings_events SET version = 0 WHERE id = $1", id(2).String())
		var b bytes.Buffer
		n, err := log.Export(t.Context(), &b)
		require.ErrorContains(t, err, "eventlog: exporting: at position ")
		require.ErrorContains(t, err, id(2).String())
		require.ErrorContains(t, err, "dataversion 0")
		require.EqualValues(t, 1, n)
		require.Equal(t, lines[0]+"\n", b.String())
	})
}

func TestExportStopsWithItsWriter(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		importLines(t, log, [3]int{1, 0, 0}, [3]int{2, 0, 0})
		r, w := io.Pipe()
		require.NoError(t, r.CloseWithError(errBroken))
		n, err := log.Export(t.Context(), w)
		require.ErrorIs(t, err, errBroken)
		require.Zero(t, n)

		h.close()
		_, err = log.Export(t.Context(), io.Discard)
		require.Error(t, err)
	})
}

// The line of a CloudEvent of another producer, with this in it.
func foreign(n int, attributes string) string {
	return fmt.Sprintf(`{"id":"%s","specversion":"1.0","source":"/other","type":"other.thing","time":"2026-03-01T10:30:00.1234567+01:00"%s}`, id(n), attributes)
}

func TestImportOfOtherProducers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, before := h.open(t), time.Now().Truncate(time.Microsecond)
		text := "\r\n" + foreign(1, `,"subject":"s","data":{}`) + "\r\n  \n" +
			foreign(2, `,"dataversion":"3","stream":null,"streamversion":null,"recordedat":null,"data":[]`) + "\n\n" +
			foreign(3, `,"stream":"s","streamversion":"5","recordedat":"2026-03-01T10:30:00.1234567+01:00","data":{"long":"`+strings.Repeat("x", 1<<20)+`"}`)
		report, err := log.Import(t.Context(), iotest.HalfReader(strings.NewReader(text)))
		require.NoError(t, err)
		require.Equal(t, eventlog.ImportReport{Imported: 3}, report)

		var records []eventlog.Recorded
		for r, err := range log.Read(t.Context()) {
			require.ErrorIs(t, err, tidings.ErrUnregistered)
			require.Equal(t, "2026-03-01T09:30:00.123456Z", r.Envelope.OccurredAt.Format(time.RFC3339Nano))
			require.Equal(t, r.Envelope.ID, r.Envelope.CorrelationID)
			require.Equal(t, "tidings", r.Envelope.Source, "documented")
			records = append(records, r)
		}
		require.Equal(t, []int{1, 3, 1}, []int{records[0].Envelope.Version, records[1].Envelope.Version, records[2].Envelope.Version})
		require.WithinRange(t, records[0].RecordedAt, before, time.Now())
		require.Equal(t, "2026-03-01T09:30:00.123456Z", records[2].RecordedAt.Format(time.RFC3339Nano))
		require.Equal(t, "s", records[2].Stream)
		require.EqualValues(t, 5, records[2].StreamVersion)
		require.Len(t, records[2].Envelope.Data, 1<<20+len(`{"long":""}`))
		require.Empty(t, records[1].Stream)
	})
}

// Other producers may write times as RFC 3339 allows, in other ways than ours.
func TestImportOfTimes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		for i, tt := range []struct{ text, want string }{
			{"2026-03-01t09:30:00z", "2026-03-01T09:30:00Z"},
			{"2026-03-01t09:30:00.1234567+01:00", "2026-03-01T08:30:00.123456Z"},
			{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
		} {
			line := strings.Replace(foreign(i+1, `,"data":{},"recordedat":"`+tt.text+`"`), "2026-03-01T10:30:00.1234567+01:00", tt.text, 1)
			_, err := log.Import(t.Context(), strings.NewReader(line))
			require.NoError(t, err, tt.text)
			for r, err := range log.Read(t.Context(), eventlog.ID(id(i+1))) {
				require.ErrorIs(t, err, tidings.ErrUnregistered)
				require.Equal(t, tt.want, r.Envelope.OccurredAt.Format(time.RFC3339Nano), tt.text)
				require.Equal(t, tt.want, r.RecordedAt.Format(time.RFC3339Nano), tt.text)
			}
		}
	})
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ line, want string }{
		{`{`, "line 2: tidings: decoding a CloudEvent: it is not JSON"},
		{foreign(2, ``), "it has no data"},
		{foreign(2, `,"data":{}`) + foreign(3, `,"data":{}`), "line 2: "},
		{foreign(2, `,"data":{},"stream":"s"`), "event 01978000-0000-7000-8000-000000000002: it has one of stream and streamversion, and not the other"},
		{foreign(2, `,"data":{},"streamversion":1`), "it has one of stream and streamversion"},
		{foreign(2, `,"data":{},"stream":7,"streamversion":1`), "stream is 7: it has to be a string"},
		{foreign(2, `,"data":{},"stream":"s","streamversion":0`), "streamversion 0 is not an integer >= 1"},
		{foreign(2, `,"data":{},"stream":"s","streamversion":1.5`), "streamversion 1.5 is not an integer >= 1"},
		{foreign(2, `,"data":{},"stream":"s","streamversion":"x"`), `streamversion "x" is not an integer >= 1`},
		{foreign(2, `,"data":{},"stream":"a","stream":"b","streamversion":1`), `it has "stream" twice`},
		{foreign(2, `,"data":{},"Stream":"a"`), `it has "Stream": the names of attributes are in lower case, "stream"`},
		{foreign(2, `,"data":{},"stream":"a\u0000","streamversion":1`), "NUL"},
		{foreign(2, `,"data":{},"recordedat":"yesterday"`), `recordedat "yesterday" is not an RFC 3339 time`},
		{foreign(2, `,"data":{},"recordedat":1`), `recordedat is 1: it has to be a string`},
	}
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		for _, tt := range tests {
			h.exec(t, "DELETE FROM tidings_events")
			report, err := log.Import(t.Context(), strings.NewReader(foreign(1, `,"data":{}`)+"\n"+tt.line+"\n"+foreign(9, `,"data":{}`)+"\n"))
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "eventlog: importing line 2: ")
			require.Equal(t, eventlog.ImportReport{Imported: 1}, report, tt.line)
			require.Equal(t, 1, h.count(t, "SELECT count(*) FROM tidings_events"), "what came before is there")
		}
	})
}

func TestImportInBatches(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := 1; i <= 1200; i++ {
		version := i
		if i == 1100 {
			version = 1 // which event 1 has
		}
		b.WriteString(foreign(i, fmt.Sprintf(`,"data":{},"stream":"s","streamversion":%d`, version)) + "\n")
	}
	each(t, func(t *testing.T, h harness) {
		log := h.open(t)
		report, err := log.Import(t.Context(), strings.NewReader(b.String()))
		require.ErrorContains(t, err, "eventlog: importing lines 1001 to 1200: ")
		require.Equal(t, eventlog.ImportReport{Imported: 1000}, report)
		require.Equal(t, 1000, h.count(t, "SELECT count(*) FROM tidings_events"))

		// In a transaction it is all or nothing.
		h.exec(t, "DELETE FROM tidings_events")
		require.Error(t, h.inTx(t.Context(), func(ctx context.Context) error {
			report, err = log.Import(ctx, strings.NewReader(b.String()))
			require.Equal(t, 1000, len(undecoded(ctx, t, log)), "the batch that failed went back to its savepoint")
			return err
		}))
		require.Equal(t, eventlog.ImportReport{Imported: 1000}, report)
		require.Zero(t, h.count(t, "SELECT count(*) FROM tidings_events"))

		lines := strings.SplitAfter(b.String(), "\n")[:700]
		broken := io.MultiReader(strings.NewReader(strings.Join(lines, "")+`{"half`), iotest.ErrReader(errBroken))
		report, err = log.Import(t.Context(), broken)
		require.ErrorIs(t, err, errBroken)
		require.ErrorContains(t, err, "reading line 701")
		require.Equal(t, eventlog.ImportReport{Imported: 700}, report)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = log.Import(ctx, strings.NewReader(b.String()))
		require.ErrorIs(t, err, context.Canceled)
		h.close()
		_, err = log.Import(t.Context(), strings.NewReader(b.String()))
		require.Error(t, err)
	})
}

// undecoded reads the events in a transaction, which need not decode.
func undecoded(ctx context.Context, t *testing.T, log *eventlog.Log) (records []eventlog.Recorded) {
	t.Helper()
	for r, err := range log.Read(ctx) {
		if decode := (*eventlog.DecodeError)(nil); err != nil && !errors.As(err, &decode) {
			require.NoError(t, err)
		}
		records = append(records, r)
	}
	return records
}
