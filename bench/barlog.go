package bench

import (
	"fmt"
	"math"
)

func (r Report) logBars() []Bar {
	bars := []Bar{
		r.ratioBar("Log: append 1, SQLite, synchronous=NORMAL", keyAppendSQLite, 1.15, bareInsert),
		r.ratioBar("Log: append 1, SQLite, synchronous=FULL", keyAppendSQLiteFull, 1.15, bareInsert),
		r.ratioBar("Log: append 1, Postgres, database/sql", keyAppendPostgres, 1.15, bareInsert),
		r.ratioBar("Log: append 1, Postgres, pgx", keyAppendPgx, 1.15, bareInsert),
		r.fastestBar("Log: append 100, SQLite, synchronous=NORMAL", keyAppend100SQLite, 1.3, bareValues(smallChunk), bareValues(batchEvents)),
		r.ratioBar("Log: append 100, Postgres, database/sql", keyAppend100Postgres, 1.3, bareUnnest),
		r.ratioBar("Log: append 100, Postgres, pgx", keyAppend100Pgx, 1.3, bareUnnest),
	}
	for _, database := range []string{onSQLite, onPostgres, onPgx} {
		bars = append(bars, r.readBars(database)...)
	}
	return append(bars,
		r.ratioBar("Encode", keyEncode, 1.5, bareMarshal),
		r.ratioBar("Decode", keyDecode, 1.5, bareUnmarshal))
}

// fastestBar: tidings takes at most limit times what the fastest of the others
// takes.
func (r Report) fastestBar(title, key string, limit float64, others ...string) Bar {
	fastest, name := math.Inf(1), others[0]
	for _, other := range others {
		row, ok := r.row(key, other, 1)
		if !ok {
			return Bar{Case: title, Limit: fmt.Sprintf("≤ %gx the fastest INSERT", limit), Verdict: NotMeasured}
		}
		if row.Sample.NS < fastest {
			fastest, name = row.Sample.NS, other
		}
	}
	bar := r.ratioBar(title, key, limit, name)
	bar.Limit = fmt.Sprintf("≤ %gx the fastest INSERT", limit)
	if bar.Measured != "" {
		bar.Measured += ", " + name
	}
	return bar
}

func (r Report) readBars(database string) []Bar {
	const (
		limit = 2
		heap  = 1 << 20 // a reader that kept one byte of each event would come near it
	)
	title := "Log: read, " + database
	bars := []Bar{
		{Case: title, Limit: fmt.Sprintf("≤ %dx a scan and json.Unmarshal", limit), Verdict: NotMeasured},
		{Case: title, Limit: "a hundred times the events: at most 1 MiB more heap", Verdict: NotMeasured},
	}
	var few, all LogReadCost
	for _, cost := range r.LogReads {
		switch {
		case cost.Database != database:
		case cost.Events < cost.Of:
			few = cost
		default:
			all = cost
		}
	}
	if all.Events > 0 {
		bars[0].Measured = fmt.Sprintf("%sx (%s of %s ns), %s events", Ratio(all.Ratio()), Number(all.Ours.NS), Number(all.Bare.NS), Whole(all.Events))
		bars[0].Verdict = verdict(all.Ratio() <= limit)
	}
	if all.Events > 0 && few.Events > 0 {
		bars[1].Measured = fmt.Sprintf("%s B for %s events, %s B for %s", Number(few.HeapBytes), Whole(few.Events), Number(all.HeapBytes), Whole(all.Events))
		bars[1].Verdict = verdict(all.HeapBytes-few.HeapBytes <= heap)
	}
	return bars
}
