package eventlog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// ErrSchema is wrapped by the error of [Open] for a database whose tables are
// missing, or have another version than this package needs.
var ErrSchema = errors.New("the schema of the event log does not fit")

//go:embed migrations
var migrationFiles embed.FS

// Migrations returns the SQL that [Migrate] runs, for use with another
// migration tool: the directories sqlite and postgres, with a file per version,
// "0001_events.sql". Each file runs once, in a transaction, and records that in
// the table tidings_schema.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the directory is embedded
	}
	return sub
}

type migration struct {
	version int
	name    string
	sql     string
}

// migrations returns the migrations of a dialect, in order.
func migrations(dialect backend.Dialect) []migration {
	dir := "migrations/" + strings.ToLower(dialect.String())
	entries, err := migrationFiles.ReadDir(dir)
	if err != nil {
		panic(err) // the directory is embedded
	}
	var all []migration
	for _, entry := range entries { // sorted by name
		number, _, _ := strings.Cut(entry.Name(), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			panic(fmt.Sprintf("eventlog: migration %s: %v", entry.Name(), err))
		}
		text, err := migrationFiles.ReadFile(dir + "/" + entry.Name())
		if err != nil {
			panic(err)
		}
		all = append(all, migration{version, entry.Name(), string(text)})
	}
	return all
}

// Migrate brings the tables of the log in db up to date, in a transaction of
// its own or in the one of ctx. It does nothing if they are up to date, and
// several processes may call it at once. [Open] calls it, unless [WithoutMigration] is
// given.
func Migrate(ctx context.Context, db Database) error {
	if db == nil {
		return errors.New("eventlog: Migrate with a nil Database")
	}
	begun := time.Now()
	err := migrate(ctx, db)
	// SQLite does not always wait for its busy_timeout when several processes
	// open a new file: it does not where one of them changes the journal mode.
	for isLocked(err) && time.Since(begun) < 3*time.Second && sleep(ctx, 50*time.Millisecond) == nil {
		err = migrate(ctx, db)
	}
	if err != nil {
		return fmt.Errorf("eventlog: migrating: %w", err)
	}
	return nil
}

// isLocked reports whether err is SQLITE_BUSY. Every driver has its own type
// for it; the text comes from SQLite.
func isLocked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "database is locked")
}

func migrate(ctx context.Context, db Database) error {
	const table = `CREATE TABLE IF NOT EXISTS tidings_schema (version integer NOT NULL PRIMARY KEY)`
	all := migrations(db.Dialect())
	newest := all[len(all)-1].version
	outside, err := db.Tx(ctx)
	if err != nil {
		return err
	}
	if outside == nil {
		outside = db.Pool()
	}
	if current, err := schemaVersion(ctx, db, outside); err != nil || current >= newest {
		return err
	}
	if db.Dialect() == backend.SQLite {
		// Outside, so that the transaction can begin with a write: if it began
		// with a read, it would fail where another process has written.
		if _, err := outside.Exec(ctx, table); err != nil {
			return err
		}
	}
	return db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
		lock := []string{`INSERT INTO tidings_schema (version) VALUES (0)`, `DELETE FROM tidings_schema WHERE version = 0`}
		if db.Dialect() == backend.Postgres {
			lock = []string{`SELECT pg_advisory_xact_lock(7498337274921)`, table} // an arbitrary number of our own
		}
		for _, statement := range lock {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		current, err := schemaVersion(ctx, db, tx)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.version <= current {
				continue
			}
			if _, err := tx.Exec(ctx, m.sql); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		return nil
	})
}

// schemaVersion returns the version of the tables, or 0 if there are none.
func schemaVersion(ctx context.Context, db Database, q backend.Querier) (version int, err error) {
	exists := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'tidings_schema'`
	if db.Dialect() == backend.Postgres {
		exists = `SELECT count(*) FROM pg_class WHERE oid = to_regclass('tidings_schema')`
	}
	var tables int
	if _, err := backend.One(ctx, q, exists, nil, &tables); err != nil || tables == 0 {
		return 0, err
	}
	_, err = backend.One(ctx, q, `SELECT coalesce(max(version), 0) FROM tidings_schema`, nil, &version)
	return version, err
}

// checkSchema returns an error unless the tables have the newest version.
func checkSchema(ctx context.Context, db Database, q backend.Querier) error {
	current, err := schemaVersion(ctx, db, q)
	if err != nil {
		return fmt.Errorf("eventlog: reading the version of the schema: %w", err)
	}
	all := migrations(db.Dialect())
	switch newest := all[len(all)-1].version; {
	case current == 0:
		return fmt.Errorf("eventlog: %w: there are no tables: call eventlog.Migrate, or run the SQL of eventlog.Migrations", ErrSchema)
	case current < newest:
		return fmt.Errorf("eventlog: %w: it has version %d, and this program needs %d: call eventlog.Migrate, or run the SQL of eventlog.Migrations", ErrSchema, current, newest)
	case current > newest:
		return fmt.Errorf("eventlog: %w: it has version %d, and this program knows %d: it was migrated by a newer one", ErrSchema, current, newest)
	}
	return nil
}
