package durable

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings/internal/sqlstate"
)

// A statement is SQL for each database, with $1 and so on for arguments and
// {schema} before the names of tables.
type statement struct{ sqlite, postgres string }

func (s statement) text(e engine) string {
	query := s.postgres
	if e.onSQLite() {
		query = s.sqlite
	}
	return inSchema(e.schema(), query)
}

// changing returns a statement for changes of river_job that may make jobs
// available. Each ends with RETURNING the queue that has work now, or NULL. Its
// workers are notified as River notifies them of new jobs. On Postgres it
// returns how many rows it has changed, and the queues as JSON.
func changing(sqlite, postgres string) statement {
	return statement{sqlite, "WITH changed (queue) AS (" + postgres + ") " + `
SELECT count(*), coalesce(jsonb_agg(DISTINCT queue) FILTER (WHERE queue IS NOT NULL), '[]')::text FROM changed`}
}

// inSchema fills in the schema of a statement. River has checked and quotes its
// name, which has only letters, digits and underscores.
func inSchema(schema, query string) string {
	prefix, topic := "", "current_schema() || '.river_insert'"
	if schema != "" {
		prefix, topic = `"`+schema+`".`, "'"+schema+".river_insert'"
	}
	return strings.NewReplacer("{schema}", prefix, "{topic}", topic).Replace(query)
}

// changePostgres runs a statement of changing in the transaction of ctx, and
// returns how many rows it has changed.
func changePostgres(ctx context.Context, tx querier, e engine, query string, args []any) (n int, err error) {
	var list string
	if err := tx.row(ctx, query, args, &n, &list); err != nil {
		return 0, err
	}
	var queues []string
	if err := json.Unmarshal([]byte(list), &queues); err != nil || len(queues) == 0 {
		return n, err
	}
	return n, e.notifyOnCommit(ctx, tx, queues)
}

// changeSQLite does the same on SQLite, where a change cannot be part of a
// query.
func changeSQLite(ctx context.Context, tx *sql.Tx, schema, query string, args []any) (n int, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, withRemedy(err)
	}
	var queues []string
	for rows.Next() {
		n++
		var queue sql.NullString
		if err := rows.Scan(&queue); err != nil {
			return n, errors.Join(err, rows.Close())
		}
		if queue.Valid && !slices.Contains(queues, queue.String) {
			queues = append(queues, queue.String)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(queues) == 0 {
		return n, err
	}
	list, err := json.Marshal(queues)
	if err != nil {
		return n, err
	}
	_, err = tx.ExecContext(ctx, inSchema(schema, `INSERT INTO {schema}river_notification (payload, topic)
		SELECT json_object('queue', value), 'river_insert' FROM json_each($1)`), string(list))
	return n, err
}

// sqliteTime is River's time format on SQLite: other formats do not compare.
const sqliteTime = "2006-01-02 15:04:05.000"

// firstYear and lastYear limit the years: all years between them compare as
// text and are valid on Postgres.
const firstYear, lastYear = 1, 9999

// dbTime returns t as an argument of a statement.
func dbTime(e engine, t time.Time) any {
	switch year := t.UTC().Year(); {
	case year < firstYear:
		t = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	case year > lastYear:
		t = time.Date(lastYear, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	if e.onSQLite() {
		return t.UTC().Round(time.Millisecond).Format(sqliteTime)
	}
	return t.UTC()
}

// noRow reports whether a statement returned no row, with either driver.
func noRow(err error) bool {
	return errors.Is(err, sql.ErrNoRows) || errors.Is(err, rivertype.ErrNotFound)
}

// withRemedy returns err, with a remedy if it says that tables or columns of
// River are missing. Databases may say that in any language, so it looks at the
// code where there is one.
func withRemedy(err error) error {
	if err == nil {
		return nil
	}
	switch sqlstate.Of(err) {
	case "42P01", "42703", "3F000": // no such table, column, schema
	case "": // SQLite
		text := err.Error()
		if !strings.Contains(text, "no such table") && !strings.Contains(text, "no such column") && !strings.Contains(text, "has no column named") {
			return err
		}
	default:
		return err
	}
	return fmt.Errorf("%w: River's tables are missing or too old: run its migrations on this database first (package rivermigrate, or the command river migrate-up), then Jobs.Migrate", err)
}
