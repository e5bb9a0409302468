package bench

import (
	"time"
)

// jobKind is the kind of all jobs: the name of the handler.
const jobKind = "bench.pay_bill"

// billArgs are the arguments of a bare job: the same JSON as the event of a
// durable handler.
type billArgs plainEvent

func (billArgs) Kind() string { return jobKind }

// args returns the arguments of the next job.
func (w *billWriter) args() billArgs {
	id := w.nextID()
	return billArgs{
		SpecVersion: "1.0", ID: id, Source: "tidings", Type: billedName, Time: time.Now().UTC().Truncate(time.Microsecond),
		DataContentType: "application/json", DataVersion: billedVersion, CorrelationID: id, Data: w.bill,
	}
}

// rawArgs are the same, marshalled beforehand. River runs them through
// encoding/json nonetheless.
type rawArgs []byte

func (rawArgs) Kind() string                   { return jobKind }
func (a rawArgs) MarshalJSON() ([]byte, error) { return a, nil }
