package buntx_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/buntx"
)

// Savepoints of bun itself are followed, whichever context an event is published with.
func TestBunSavepoints(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.NoError(t, buntx.InTx(t.Context(), r.db, nil, func(outer context.Context, tx bun.Tx) error {
			require.NoError(t, r.note(outer, 1))
			require.ErrorIs(t, tx.RunInTx(outer, nil, func(ctx context.Context, _ bun.Tx) error {
				require.NoError(t, r.note(outer, 2))
				require.NoError(t, r.note(ctx, 3)) // the context in which bun has begun the transaction
				return errNo
			}), errNo)
			require.NoError(t, tx.RunInTx(outer, nil, func(_ context.Context, sp bun.Tx) error {
				require.NoError(t, r.note(outer, 4))
				require.Error(t, sp.RunInTx(outer, nil, func(context.Context, bun.Tx) error { return r.note(outer, 1) })) // a duplicate
				require.ErrorIs(t, r.in(outer, func(ctx context.Context) error {
					require.NoError(t, tx.RunInTx(ctx, nil, func(context.Context, bun.Tx) error { return r.note(outer, 5) }))
					return errNo
				}), errNo)
				return r.in(outer, func(ctx context.Context) error {
					require.ErrorIs(t, tx.RunInTx(ctx, nil, func(context.Context, bun.Tx) error {
						require.NoError(t, r.note(outer, 6))
						return errNo
					}), errNo)
					return r.note(ctx, 7)
				})
			}))
			require.Panics(t, func() {
				_ = tx.RunInTx(outer, nil, func(context.Context, bun.Tx) error {
					require.NoError(t, r.note(outer, 8))
					panic("broken")
				})
			})
			sp, err := buntx.From(outer, r.db).BeginTx(outer, nil)
			require.NoError(t, err)
			require.NoError(t, r.note(outer, 9))
			require.NoError(t, sp.Rollback())
			sp, err = tx.Begin()
			require.NoError(t, err)
			require.NoError(t, r.note(outer, 10))
			require.NoError(t, sp.Commit())
			return nil
		}))
		r.requireCommitted(t, 1, 4, 7, 10)
		r.requireDropped(t, 2, 3, 5, 6, 8, 9)
	})
}

// Savepoints that are set with statements, and one that fails.
func TestSavepointStatements(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.NoError(t, buntx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx bun.Tx) error {
			exec := func(statement string) error {
				_, err := tx.ExecContext(ctx, statement)
				return err
			}
			require.NoError(t, exec("SAVEPOINT a"))
			require.NoError(t, r.note(ctx, 1))
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err := tx.ExecContext(ended, "ROLLBACK TO SAVEPOINT a")
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, exec("RELEASE SAVEPOINT a"))
			_, err = tx.NewRaw("SAVEPOINT a").Exec(ctx)
			require.NoError(t, err)
			require.NoError(t, r.note(ctx, 2))
			_, err = tx.NewRaw("ROLLBACK TO SAVEPOINT a").Exec(ctx)
			require.NoError(t, err)
			return r.note(ctx, 3)
		}))
		r.requireCommitted(t, 1, 3)
		r.requireDropped(t, 2)
	})
}

// A recordingHook is a query hook of the program.
type recordingHook struct {
	operations []string
	before     int
	inits      int
}

func (h *recordingHook) Init(*bun.DB) { h.inits++ }

func (h *recordingHook) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context {
	h.before++
	return ctx
}

func (h *recordingHook) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	h.operations = append(h.operations, e.Operation())
}

// The hooks of the program see each statement once, and none in a database without hooks.
func TestQueryHooks(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		hook := &recordingHook{}
		db := r.db.WithQueryHook(hook).WithNamedArg("id", 1)
		for i, want := range [][]string{
			{"BEGIN", "INSERT", "SAVEPOINT", "INSERT", "RELEASE", "SAVEPOINT", "ROLLBACK", "RELEASE", "SELECT", "COMMIT"},
			{"BEGIN", "INSERT", "SAVEPOINT", "INSERT", "RELEASE", "SAVEPOINT", "ROLLBACK", "RELEASE", "SELECT", "ROLLBACK"},
		} {
			*hook = recordingHook{}
			var failure error
			if i == 1 {
				failure = errNo
			}
			require.ErrorIs(t, buntx.InTx(t.Context(), db, nil, func(ctx context.Context, tx bun.Tx) error {
				require.NoError(t, insert(ctx, tx, 2*i+1))
				require.NoError(t, buntx.InTx(ctx, db, nil, func(ctx context.Context, tx bun.Tx) error {
					return insert(ctx, tx, 2*i+2)
				}))
				require.ErrorIs(t, buntx.InTx(ctx, db, nil, func(context.Context, bun.Tx) error { return errNo }), errNo)
				require.NoError(t, tx.QueryRowContext(ctx, "SELECT id FROM notes WHERE id = ?id").Scan(new(int)))
				return failure
			}), failure)
			require.Equal(t, want, hook.operations)
			require.Equal(t, len(want), hook.before)
			require.Zero(t, hook.inits)
		}
		require.Equal(t, []int{1, 2}, r.stored(t))

		// What has ended is not rolled back.
		*hook = recordingHook{}
		require.Error(t, buntx.InTx(t.Context(), db, nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (7)") // of no note, which COMMIT checks
			return err
		}))
		require.Error(t, buntx.InTx(t.Context(), db, nil, func(_ context.Context, tx bun.Tx) error { return tx.Rollback() }))
		require.Equal(t, []string{"BEGIN", "INSERT", "COMMIT", "BEGIN", "ROLLBACK"}, hook.operations)
	})
}

// A Spoken has model hooks that publish with the context that bun passes them.
type Spoken struct {
	bun.BaseModel `bun:"table:notes"`
	ID            int `bun:",pk"`
	rig           *rig
}

func (s *Spoken) BeforeAppendModel(ctx context.Context, _ bun.Query) error {
	return tidings.Publish(ctx, s.rig.bus, Noted{ID: s.ID})
}

func (s *Spoken) AfterInsert(ctx context.Context, query *bun.InsertQuery) error {
	model := query.GetModel().Value().(*Spoken)
	return tidings.Publish(ctx, model.rig.bus, Noted{ID: -model.ID})
}

func TestModelHooks(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.db.RegisterModel((*Spoken)(nil))
		speak := func(ctx context.Context, tx bun.IDB, id int) {
			_, err := tx.NewInsert().Model(&Spoken{ID: id, rig: r}).Exec(ctx)
			require.NoError(t, err)
		}
		require.NoError(t, buntx.InTx(t.Context(), r.db, nil, func(outer context.Context, tx bun.Tx) error {
			speak(outer, tx, 1)
			require.ErrorIs(t, tx.RunInTx(outer, nil, func(ctx context.Context, sp bun.Tx) error {
				speak(ctx, sp, 2)
				return errNo
			}), errNo)
			require.ErrorIs(t, r.in(outer, func(context.Context) error {
				speak(outer, tx, 3)
				return errNo
			}), errNo)
			require.Empty(t, r.rec.Delivered())
			return nil
		}))
		require.Equal(t, []int{1}, r.stored(t))
		require.Equal(t, []int{1, -1}, idsOf(r.rec.Delivered()))
		r.requireDropped(t, 2, -2, 3, -3)
	})
}
