package eventlog

import (
	"strings"
	"time"
)

// sqliteRows is how many rows go into one statement. More would not be faster:
// the driver searches the list of all parameters for each one.
const sqliteRows = 100

var sqliteValues = func() (values [sqliteRows + 1]string) {
	tuple := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for n := 1; n <= sqliteRows; n++ {
		values[n] = insertInto + "VALUES " + tuple + strings.Repeat(", "+tuple, n-1)
	}
	return values
}()

func insertSQLite(rows []row, now time.Time) (query string, args []any) {
	args = make([]any, 0, len(rows)*columns)
	for i := range rows {
		r := &rows[i]
		args = append(args, r.ID.String(), r.Type, r.Version, string(r.Data), r.OccurredAt.UnixMicro(), r.recorded(now).UnixMicro(), r.CorrelationID.String())
		args = appendNullable(args, r)
	}
	return sqliteValues[len(rows)], args
}
