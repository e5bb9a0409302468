package savepoint

import "sync"

// A Fate is shared by the savepoints of one transaction. With the zero Fate the
// transaction can commit.
type Fate struct {
	mu     sync.Mutex
	doomed error
}

// Doom says why the transaction cannot commit any more.
func (f *Fate) Doom(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doomed = err
}

// Check returns what Doom was called with, or nil.
func (f *Fate) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}
