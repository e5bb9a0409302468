package relay

import (
	"time"

	"github.com/tidings-go/tidings/relay/internal/testhook"
)

func init() {
	testhook.Broker = func(r any) any { return r.(*Relay).broker }
	testhook.SetIdle = func(r any, first, next time.Duration) {
		r.(*Relay).firstLetterWithin, r.(*Relay).nextLetterWithin = first, next
	}
}
