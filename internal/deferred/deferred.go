// Package deferred makes the checks of a COMMIT in a transaction that goes on.
package deferred

// CheckPostgres checks the constraints that may be deferred, in the transaction of
// Postgres that row and exec use. Afterwards, those that are INITIALLY DEFERRED are
// deferred again, as at the beginning of a transaction.
func CheckPostgres(row func(query string, dest ...any) error, exec func(statement string) error) error {
	var all, deferred *string
	if err := row(postgresConstraints, &all, &deferred); err != nil {
		return err
	}
	for _, set := range []struct {
		names *string
		to    string
	}{{all, "IMMEDIATE"}, {deferred, "DEFERRED"}} {
		if set.names == nil {
			continue
		}
		if err := exec("SET CONSTRAINTS " + *set.names + " " + set.to); err != nil {
			return err
		}
	}
	return nil
}

// postgresConstraints returns two lists of constraints in the syntax of SET
// CONSTRAINTS, for the tables that the transaction has used: it has locked
// those, so they cannot be dropped meanwhile, as other tests do with their own
// tables.
const postgresConstraints = `
SELECT string_agg(DISTINCT name, ', '), string_agg(DISTINCT name, ', ') FILTER (WHERE condeferred)
FROM (
	SELECT format('%I.%I', n.nspname, c.conname) AS name, c.condeferred
	FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
	WHERE c.condeferrable AND EXISTS (
		SELECT FROM pg_locks l
		WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.relation IN (c.conrelid, c.confrelid)
	)
) used`
