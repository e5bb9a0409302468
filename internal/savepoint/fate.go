package savepoint

import "sync"

// A Fate records whether a transaction can still commit. The savepoints of the
// transaction share it. With the zero Fate the transaction can commit.
type Fate struct {
	mu     sync.Mutex
	doomed error
}

// Doom records why the transaction can no longer commit.
func (f *Fate) Doom(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doomed = err
}

// Check returns the error that Doom recorded, or nil.
func (f *Fate) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}
