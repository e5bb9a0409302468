package transporttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// tidingstest.Events of a transaction arrive once it has committed.
func checkCommit(r *rig) {
	var committing atomic.Bool
	in := handle(r, "handler", func(ctx context.Context, e Counted, _ int) error {
		if !committing.Load() {
			r.problem(fmt.Errorf("delivered before the commit: %s", describe(e)))
		}
		return nil
	})
	r.start()
	sent := r.counted(3)
	r.must(r.inTxUntil(r.ctx, func(ctx context.Context) error {
		return r.publish(ctx, sent...)
	}, func() error {
		if !r.features.OneWriter {
			r.settle(in)
		}
		committing.Store(true)
		return nil
	}))
	in.await(len(sent))
	r.settle(in)
	in.want(sent)
	in.wantCalls(1)
}

// tidingstest.Events of a transaction that fails do not arrive.
func checkRollback(r *rig) {
	in := handle[Counted](r, "handler", nil)
	r.start()
	err := r.inTx(r.ctx, func(ctx context.Context) error {
		return errors.Join(errOnPurpose, r.publish(ctx, r.counted(3)...))
	})
	r.wantOnlyOnPurpose(err)
	r.settle(in)
	in.want(nil)
}

// tidingstest.Events do not arrive if the transaction fails after they were handed over.
func checkFailedCommit(r *rig) {
	in := handle[Counted](r, "handler", nil)
	r.start()
	err := r.inTxUntil(r.ctx, func(ctx context.Context) error {
		return r.publish(ctx, r.counted(3)...)
	}, func() error { return errOnPurpose })
	r.wantOnlyOnPurpose(err)
	r.settle(in)
	in.want(nil)
}

// wantOnlyOnPurpose fails the subtest unless err is errOnPurpose and no more.
func (r *rig) wantOnlyOnPurpose(err error) {
	r.Helper()
	if !errors.Is(err, errOnPurpose) || err.Error() != errOnPurpose.Error() {
		r.Fatalf("the transaction returned %v, not %v", err, errOnPurpose)
	}
}

// A savepoint that is rolled back drops its own events.
func checkSavepoint(r *rig) {
	in := handle[Counted](r, "handler", nil)
	r.start()
	sent := r.counted(5)
	r.must(r.inTx(r.ctx, func(ctx context.Context) error {
		if err := r.publish(ctx, sent[0]); err != nil {
			return err
		}
		err := r.inTx(ctx, func(ctx context.Context) error {
			return errors.Join(errOnPurpose, r.publish(ctx, sent[1]))
		})
		r.wantOnlyOnPurpose(err)
		if err := r.publish(ctx, sent[2]); err != nil {
			return err
		}
		err = r.inTx(ctx, func(ctx context.Context) error { return r.publish(ctx, sent[3]) })
		return errors.Join(err, r.publish(ctx, sent[4]))
	}))
	sent = slices.Delete(sent, 1, 2)
	in.await(len(sent))
	r.settle(in)
	in.want(sent)
}
