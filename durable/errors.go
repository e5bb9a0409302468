package durable

import (
	"errors"

	"github.com/riverqueue/river/rivertype"
)

// errTaken is the error of an attempt that has lost its job: it took so long
// that another worker got the job, or the job was cancelled or deleted
// meanwhile. The handler's writes have been rolled back.
var errTaken error = takenError{}

type takenError struct{}

func (takenError) Error() string {
	return "durable: the job is not this attempt's any more, so what the handler wrote is rolled back"
}

// River calls ErrorsByID and Jobs on the error of a batch to learn which jobs
// have failed. Here none has, so River does not change the job, which another
// attempt may be running.
func (takenError) ErrorsByID() map[int64]error { return nil }
func (takenError) Jobs() []*rivertype.JobRow   { return nil }

// errGoexit is the error of an attempt that has ended its goroutine.
var errGoexit = errors.New("durable: runtime.Goexit was called (t.FailNow, t.Skip and the like do)")
