package relay

import (
	"strings"
	"time"

	"github.com/tidings-go/tidings/relay/internal/testhook"
)

func init() {
	testhook.Broker = func(r any) any { return r.(*Relay).broker }
	testhook.Forget = func(url, topic, group string) {
		memoriesMu.Lock()
		m := memories[strings.TrimPrefix(url, "memory://")]
		memoriesMu.Unlock()
		m.forget(topic, group)
	}
	testhook.SetIdle = func(r any, first, next time.Duration) {
		r.(*Relay).firstLetterWithin, r.(*Relay).nextLetterWithin = first, next
	}
	testhook.SetDeadAckWait = func(r any, d time.Duration) { r.(*Relay).deadAckWait = d }
}
