package bench

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

const (
	keyStamp    = "stamp"
	stampByHand = "by-hand"
)

// stamped keeps what the subjects of the case make, so that it is made.
var stamped [Lanes]struct {
	id uuid.UUID
	at int64
	_  [104]byte
}

func stamping() Case {
	return Case{
		Key:   keyStamp,
		Title: "Stamping an event",
		Note: "An ID and the time. By hand: time.Now() and a UUIDv7 with that time, the rest of its bits from math/rand/v2; " +
			"two of the same millisecond are in no order. The IDs of tidings strictly increase, and it sets the correlation too.",
		Baseline: stampByHand,
		Subjects: []Subject{
			stampSubject(stampByHand, "one reading of the clock", func() (uuid.UUID, int64) {
				now := time.Now()
				return randomV7(now), now.UnixMicro()
			}),
			stampSubject("by-hand-clock-twice", "one reading for the ID, one for the time", func() (uuid.UUID, int64) {
				now := time.Now()
				return randomV7(time.Now()), now.UnixMicro()
			}),
			stampSubject("uuid.NewV7", "of google/uuid, and time.Now(); crypto/rand; IDs strictly increase", func() (uuid.UUID, int64) {
				now := time.Now()
				return uuid.Must(uuid.NewV7()), now.UnixMicro()
			}),
			{Name: Tidings, Note: "tidings.Stamp of the whole event", Setup: setupStamp},
		},
	}
}

func stampSubject(name, note string, stamp func() (uuid.UUID, int64)) Subject {
	return Subject{Name: name, Note: note, Setup: func() (*Runner, error) {
		return &Runner{Do: func(lane, n int) error {
			kept := &stamped[lane]
			for range n {
				kept.id, kept.at = stamp()
			}
			return nil
		}}, nil
	}}
}

func setupStamp() (*Runner, error) {
	return &Runner{Do: func(lane, n int) error {
		ctx, plain := context.Background(), OrderPlaced{OrderID: 1, Lane: int64(lane)}
		kept := &stamped[lane]
		for range n {
			e := tidings.Stamp(ctx, plain)
			kept.id, kept.at = e.EventID(), e.Lane
		}
		return nil
	}}, nil
}

// randomV7 is a UUIDv7 (RFC 9562, section 5.7) as short as it can be.
func randomV7(now time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|7<<12|rand.Uint64()>>52)
	binary.BigEndian.PutUint64(id[8:], 1<<63|rand.Uint64()>>2)
	return id
}
