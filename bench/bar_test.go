package bench_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// report returns one in which every bar is met with little to spare. A change
// made to a figure before it is assembled is that of one row.
func report(change func(key, name string, goroutines int, s *bench.Sample)) bench.Report {
	var r bench.Report
	table := func(key string, rows map[string]bench.Sample, goroutines int) {
		var t bench.Table
		t.Case = bench.Case{Key: key, Title: key, Baseline: bench.Bare}
		if last := len(r.Tables) - 1; last >= 0 && r.Tables[last].Case.Key == key {
			t, r.Tables = r.Tables[last], r.Tables[:last]
		}
		for name, sample := range rows {
			if change != nil {
				change(key, name, goroutines, &sample)
			}
			t.Rows = append(t.Rows, bench.Row{Subject: bench.Subject{Name: name, Goroutines: goroutines}, Sample: sample})
		}
		r.Tables = append(r.Tables, t)
	}
	fanOut := func(key string, bare, ours, allocs, near, others float64) {
		rows := map[string]bench.Sample{"bare-of-one": {NS: 10}}
		for _, c := range bench.Contenders() {
			rows[c.Name] = bench.Sample{NS: others}
		}
		rows[bench.Bare] = bench.Sample{NS: bare}
		rows[bench.Tidings] = bench.Sample{NS: ours, Allocs: allocs}
		rows[bench.Mediatr], rows[bench.Signals] = bench.Sample{NS: near}, bench.Sample{NS: near}
		table(key, rows, 1)
	}
	fanOut("handlers-0", 1, 39, 0, 20, 20)
	fanOut("handlers-1", 10, 279, 1, 94, 280)
	fanOut("handlers-10", 100, 399, 1, 400, 400)
	fanOut("handlers-100", 1000, 1599, 1, 1600, 1600)
	table("two-goroutines", map[string]bench.Sample{bench.Bare: {NS: 10}, bench.Tidings: {NS: 161}}, 1)
	table("two-goroutines", map[string]bench.Sample{bench.Bare: {NS: 5}, bench.Tidings: {NS: 100}}, 2)
	table("stamp", map[string]bench.Sample{"by-hand": {NS: 100}, bench.Tidings: {NS: 149}}, 1)
	table("types", map[string]bench.Sample{"one-type": {NS: 100}, "one-of-1000": {NS: 129}}, 1)
	table("in-tx-full", map[string]bench.Sample{"database-sql": {NS: 1000}, bench.Tidings: {NS: 1049}}, 1)
	table("in-tx-normal", map[string]bench.Sample{"database-sql": {NS: 1000}, bench.Tidings: {NS: 1049}}, 1)
	for _, key := range []string{"log-append-sqlite", "log-append-sqlite-full", "log-append-postgres", "log-append-pgx"} {
		table(key, map[string]bench.Sample{"insert": {NS: 100}, bench.Tidings: {NS: 114}}, 1)
	}
	table("log-append-100-sqlite", map[string]bench.Sample{"insert-values-25": {NS: 100}, "insert-values-100": {NS: 110}, bench.Tidings: {NS: 129}}, 1)
	table("log-append-100-postgres", map[string]bench.Sample{"insert-unnest": {NS: 100}, bench.Tidings: {NS: 129}}, 1)
	table("log-append-100-pgx", map[string]bench.Sample{"insert-unnest": {NS: 100}, bench.Tidings: {NS: 129}}, 1)
	table("encode", map[string]bench.Sample{"json.Marshal": {NS: 100}, bench.Tidings: {NS: 149}}, 1)
	table("decode", map[string]bench.Sample{"json.Unmarshal": {NS: 100}, bench.Tidings: {NS: 149}}, 1)
	for _, key := range []string{"durable-publish-sqlite", "durable-publish-sqlite-full", "durable-publish-pgx"} {
		table(key, map[string]bench.Sample{"river-insert-tx": {NS: 100}, bench.Tidings: {NS: 109}}, 1)
	}
	for _, key := range []string{"durable-publish-1000-sqlite", "durable-publish-1000-pgx"} {
		table(key, map[string]bench.Sample{"river-insert-many-fast-tx": {NS: 100}, bench.Tidings: {NS: 119}}, 1)
	}
	for _, database := range []string{"SQLite", "Postgres, pgx"} {
		r.DurableWork = append(r.DurableWork, bench.DurableWorkCost{Database: database, Jobs: 5_000, Bare: bench.Sample{NS: 900}, Ours: bench.Sample{NS: 999}})
		r.DurableStarts = append(r.DurableStarts, bench.DurableStartCost{
			Database: database, Starts: 600,
			Bare: bench.Latency{P50: 10 * time.Millisecond}, Ours: bench.Latency{P50: 11_900 * time.Microsecond, P99: time.Second},
		})
	}
	for _, broker := range []string{"NATS JetStream", "Kafka (kfake)"} {
		near := bench.Latency{P50: 11 * time.Millisecond, P99: 22 * time.Millisecond}
		r.Relays = append(r.Relays, bench.RelayCost{
			Broker: broker, Messages: 2_000,
			BarePublish: bench.Sample{NS: 900}, OursPublish: bench.Sample{NS: 999}, BareConsume: bench.Sample{NS: 900}, OursConsume: bench.Sample{NS: 999},
			Bare: bench.Latency{P50: 10 * time.Millisecond, P99: 20 * time.Millisecond}, Decoded: near, Ours: near,
		})
	}
	for _, database := range []string{"SQLite", "Postgres, database/sql", "Postgres, pgx"} {
		for _, events := range []int{10_000, 1_000_000} {
			r.LogReads = append(r.LogReads, bench.LogReadCost{
				Database: database, Events: events, Of: 1_000_000,
				Bare: bench.Sample{NS: 100}, Ours: bench.Sample{NS: 199}, HeapBytes: 200_000,
			})
		}
	}
	r.Subscriptions = []bench.SubscriptionCost{{Contender: bench.Tidings, Few: time.Millisecond, Many: 12 * time.Millisecond, BytesEach: 250}}
	for _, events := range []int{10, 1_000, 1_000_000} {
		r.Queue = append(r.Queue, bench.QueueCost{Events: events, Delivered: events, Queued: bench.Sample{Allocs: 2, Bytes: 300}})
	}
	return r
}

func missed(r bench.Report) []string {
	var limits []string
	for _, bar := range bench.Bars(r) {
		if bar.Verdict != bench.Met {
			limits = append(limits, bar.Case+": "+bar.Limit)
		}
	}
	return limits
}

func TestBarsMet(t *testing.T) {
	require.Empty(t, missed(report(nil)))
}

func TestBarsMissed(t *testing.T) {
	tests := []struct {
		key, name  string
		goroutines int
		sample     bench.Sample
		want       string
	}{
		{"handlers-0", bench.Tidings, 1, bench.Sample{NS: 41}, "No handler: ≤ 4x bare-of-one"},
		{"handlers-0", bench.Tidings, 1, bench.Sample{NS: 39, Allocs: 0.5}, "No handler: ≤ 0 allocs/op"},
		{"handlers-1", bench.Bare, 1, bench.Sample{NS: 9}, "One handler: ≤ 28x bare"},
		{"handlers-1", bench.Tidings, 1, bench.Sample{NS: 279, Allocs: 2}, "One handler: ≤ 1 allocs/op"},
		{"handlers-1", "kelindar-event", 1, bench.Sample{NS: 278}, "One handler: ahead of every peer but go-mediatr and signals"},
		{"handlers-1", bench.Mediatr, 1, bench.Sample{NS: 92}, "One handler: ≤ 3x go-mediatr"},
		{"handlers-1", bench.Signals, 1, bench.Sample{NS: 92}, "One handler: ≤ 3x signals"},
		{"handlers-10", bench.Bare, 1, bench.Sample{NS: 99}, "Ten handlers: ≤ 4x bare"},
		{"handlers-10", bench.Signals, 1, bench.Sample{NS: 399}, "Ten handlers: ahead of every synchronous peer"},
		{"handlers-100", bench.Bare, 1, bench.Sample{NS: 999}, "A hundred handlers: ≤ 1.6x bare"},
		{"handlers-100", "ebu", 1, bench.Sample{NS: 1}, "A hundred handlers: ahead of every synchronous peer"},
		{"two-goroutines", bench.Tidings, 2, bench.Sample{NS: 101}, "Two goroutines: ≥ 1.6x the throughput of one"},
		{"stamp", bench.Tidings, 1, bench.Sample{NS: 151}, "Stamping: ≤ 1.5x by-hand"},
		{"stamp", bench.Tidings, 1, bench.Sample{NS: 149, Allocs: 1}, "Stamping: 0 further allocs/op"},
		{"types", "one-of-1000", 1, bench.Sample{NS: 131}, "1,000 event types: ≤ 1.3x one type"},
		{"in-tx-full", bench.Tidings, 1, bench.Sample{NS: 1051}, "InTx on SQLite, synchronous=FULL: ≤ 1.05x database-sql"},
		{"in-tx-normal", bench.Tidings, 1, bench.Sample{NS: 1051}, "InTx on SQLite, synchronous=NORMAL: ≤ 1.05x database-sql"},
		{"log-append-sqlite", bench.Tidings, 1, bench.Sample{NS: 116}, "Log: append 1, SQLite, synchronous=NORMAL: ≤ 1.15x insert"},
		{"log-append-sqlite-full", bench.Tidings, 1, bench.Sample{NS: 116}, "Log: append 1, SQLite, synchronous=FULL: ≤ 1.15x insert"},
		{"log-append-postgres", bench.Tidings, 1, bench.Sample{NS: 116}, "Log: append 1, Postgres, database/sql: ≤ 1.15x insert"},
		{"log-append-pgx", "insert", 1, bench.Sample{NS: 99}, "Log: append 1, Postgres, pgx: ≤ 1.15x insert"},
		{"log-append-100-sqlite", "insert-values-25", 1, bench.Sample{NS: 99}, "Log: append 100, SQLite, synchronous=NORMAL: ≤ 1.3x the fastest INSERT"},
		{"log-append-100-sqlite", "insert-values-100", 1, bench.Sample{NS: 99}, "Log: append 100, SQLite, synchronous=NORMAL: ≤ 1.3x the fastest INSERT"},
		{"log-append-100-postgres", bench.Tidings, 1, bench.Sample{NS: 131}, "Log: append 100, Postgres, database/sql: ≤ 1.3x insert-unnest"},
		{"log-append-100-pgx", bench.Tidings, 1, bench.Sample{NS: 131}, "Log: append 100, Postgres, pgx: ≤ 1.3x insert-unnest"},
		{"durable-publish-sqlite", bench.Tidings, 1, bench.Sample{NS: 111}, "Durable: publish 1, SQLite, synchronous=NORMAL: ≤ 1.1x river-insert-tx"},
		{"durable-publish-sqlite-full", bench.Tidings, 1, bench.Sample{NS: 111}, "Durable: publish 1, SQLite, synchronous=FULL: ≤ 1.1x river-insert-tx"},
		{"durable-publish-pgx", "river-insert-tx", 1, bench.Sample{NS: 99}, "Durable: publish 1, Postgres, pgx: ≤ 1.1x river-insert-tx"},
		{"durable-publish-1000-sqlite", bench.Tidings, 1, bench.Sample{NS: 121}, "Durable: publish 1,000, SQLite, synchronous=NORMAL: ≤ 1.2x river-insert-many-fast-tx"},
		{"durable-publish-1000-pgx", bench.Tidings, 1, bench.Sample{NS: 121}, "Durable: publish 1,000, Postgres, pgx: ≤ 1.2x river-insert-many-fast-tx"},
		{"encode", bench.Tidings, 1, bench.Sample{NS: 151}, "Encode: ≤ 1.5x json.Marshal"},
		{"decode", bench.Tidings, 1, bench.Sample{NS: 151}, "Decode: ≤ 1.5x json.Unmarshal"},
	}
	for _, tt := range tests {
		t.Run(tt.key+": "+tt.want, func(t *testing.T) {
			r := report(func(key, name string, goroutines int, s *bench.Sample) {
				if key == tt.key && name == tt.name && goroutines == tt.goroutines {
					*s = tt.sample
				}
			})
			require.Equal(t, []string{tt.want}, missed(r))
		})
	}
}

func TestBarsOfSubscriptionsAndQueue(t *testing.T) {
	r := report(nil)
	r.Subscriptions[0].Many *= 2
	r.Subscriptions[0].BytesEach++
	r.Queue[0].Queued.Allocs = 2.1
	r.Queue[1].Queued.Bytes = 301
	r.Queue[2].Delivered--
	require.Equal(t, []string{
		"100,000 subscriptions: linear: ≤ 12 times the time of 10,000",
		"100,000 subscriptions: ≤ 250 B each",
		"Queueing, 10 events in a transaction: ≤ 2 allocs and ≤ 300 B per event",
		"Queueing, 1,000 events in a transaction: ≤ 2 allocs and ≤ 300 B per event",
		"Queueing, 1,000,000 events in a transaction: ≤ 2 allocs and ≤ 300 B per event",
	}, missed(r))
}

func TestBarsOfReading(t *testing.T) {
	r := report(nil)
	for i := range r.LogReads {
		c := &r.LogReads[i]
		switch {
		case c.Database == "Postgres, pgx":
			c.Ours.NS = 201
		case c.Database == "SQLite" && c.Events == c.Of:
			c.HeapBytes += 1 << 20
		case c.Database == "Postgres, database/sql" && c.Events == c.Of:
			c.HeapBytes += 1<<20 + 1
		}
	}
	require.Equal(t, []string{
		"Log: read, Postgres, database/sql: a hundred times the events: at most 1 MiB more heap",
		"Log: read, Postgres, pgx: ≤ 2x a scan and json.Unmarshal",
	}, missed(r))
}

func TestBarsOfDurableHandlers(t *testing.T) {
	r := report(nil)
	r.DurableWork[0].Ours.NS = 1_001
	r.DurableStarts[1].Ours.P50 = 12_100 * time.Microsecond
	require.Equal(t, []string{
		"Durable: work, SQLite: ≥ 0.9x the jobs per second of River's workers",
		"Durable: commit to start, Postgres, pgx: p50 ≤ 1.2x River's",
	}, missed(r))
}

func TestBarsOfBrokers(t *testing.T) {
	r := report(nil)
	r.Relays[0].OursPublish.NS, r.Relays[0].Ours.P99 = 1_001, 23*time.Millisecond
	r.Relays[1].OursConsume.NS, r.Relays[1].Ours.P50 = 1_001, 12*time.Millisecond
	require.Equal(t, []string{
		"Relay: publish, NATS JetStream: ≥ 0.9x the rate of the adapter",
		"Relay: latency, p99, NATS JetStream: ≥ 0.9x the speed of the adapter",
		"Relay: consume, Kafka (kfake): ≥ 0.9x the rate of the adapter",
		"Relay: latency, p50, Kafka (kfake): ≥ 0.9x the speed of the adapter",
	}, missed(r))
}

func TestAsynchronousPeersAreNoMeasureForManyHandlers(t *testing.T) {
	r := report(func(key, name string, _ int, s *bench.Sample) {
		if key == "handlers-10" && name == "kelindar-event" {
			s.NS = 1
		}
	})
	require.Empty(t, missed(r))
}

func TestBarsWithoutMeasurements(t *testing.T) {
	for _, bar := range bench.Bars(bench.Report{}) {
		require.Equal(t, bench.NotMeasured, bar.Verdict, bar.Limit)
		require.Empty(t, bar.Measured, bar.Limit)
	}
}

func TestPageSaysWhatWasMissed(t *testing.T) {
	r := report(func(key, name string, _ int, s *bench.Sample) {
		if key == "handlers-10" && name == bench.Tidings {
			s.NS = 1234
		}
	})
	var page strings.Builder
	err := bench.WriteMarkdown(&page, bench.Heading{
		Machine: bench.Machine{CPU: "a CPU", Cores: 2, OS: "an OS", Go: "go1.26"},
		Date:    time.Date(2026, 11, 3, 23, 0, 0, 0, time.UTC),
		Command: "go run ./bench/cmd/report -count 7",
		Plan:    bench.Plan{Count: 7, Time: time.Second},
	}, r)
	require.NoError(t, err)
	for _, want := range []string{
		"- Machine: a CPU, 2 cores, an OS, go1.26\n",
		"- Date: 2026-11-03\n",
		"`go run ./bench/cmd/report -count 7`",
		"the median of 7 measurements of about 1s each",
		"| tidings | 1,234 | 12.3 | 0 | 1 |",
		"| tidings | 161 | 100 | 1.61x |",
		"| 1,000,000 events |",
		"| Ten handlers | ≤ 4x bare | 12.3x (1,234 of 100 ns) | **missed** |",
		"| Stamping | ≤ 1.5x by-hand | 1.49x (149 of 100 ns) | met |",
		" bars met, 2 missed, 0 not measured.",
	} {
		require.Contains(t, page.String(), want)
	}
}
