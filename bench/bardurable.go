package bench

import "fmt"

func (r Report) durableBars() []Bar {
	bars := []Bar{
		r.ratioBar("Durable: publish 1, SQLite, synchronous=NORMAL", keyJobSQLite, 1.1, bareInsertTx),
		r.ratioBar("Durable: publish 1, SQLite, synchronous=FULL", keyJobSQLiteFull, 1.1, bareInsertTx),
		r.ratioBar("Durable: publish 1, Postgres, pgx", keyJobPgx, 1.1, bareInsertTx),
		r.ratioBar("Durable: publish 1,000, SQLite, synchronous=NORMAL", keyJob1000SQLite, 1.2, bareInsertMany),
		r.ratioBar("Durable: publish 1,000, Postgres, pgx", keyJob1000Pgx, 1.2, bareInsertMany),
	}
	for _, database := range []string{onSQLite, onPgx} {
		bars = append(bars, r.workBar(database))
	}
	for _, database := range []string{onSQLite, onPgx} {
		bars = append(bars, r.startBar(database))
	}
	return bars
}

func (r Report) workBar(database string) Bar {
	const limit = 0.9
	bar := Bar{Case: "Durable: work, " + database, Limit: fmt.Sprintf("≥ %gx the jobs per second of River's workers", limit), Verdict: NotMeasured}
	for _, cost := range r.DurableWork {
		if cost.Database == database {
			bar.Measured = fmt.Sprintf("%sx (%s to %s per second)", Ratio(cost.Ratio()), Number(cost.Ours.PerSecond()), Number(cost.Bare.PerSecond()))
			bar.Verdict = verdict(cost.Ratio() >= limit)
		}
	}
	return bar
}

func (r Report) startBar(database string) Bar {
	const limit = 1.2
	bar := Bar{Case: "Durable: commit to start, " + database, Limit: fmt.Sprintf("p50 ≤ %gx River's", limit), Verdict: NotMeasured}
	for _, cost := range r.DurableStarts {
		if cost.Database == database {
			bar.Measured = fmt.Sprintf("%sx (%s of %s ms)", Ratio(cost.Ratio()), millis(cost.Ours.P50), millis(cost.Bare.P50))
			bar.Verdict = verdict(cost.Ratio() <= limit)
		}
	}
	return bar
}
