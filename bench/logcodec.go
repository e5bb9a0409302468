package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

const (
	keyEncode     = "encode"
	keyDecode     = "decode"
	bareMarshal   = "json.Marshal"
	bareUnmarshal = "json.Unmarshal"
)

// plainEvent is a CloudEvent as a struct for encoding/json.
type plainEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              uuid.UUID `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	DataVersion     int       `json:"dataversion"`
	CorrelationID   uuid.UUID `json:"correlationid"`
	CausationID     uuid.UUID `json:"causationid,omitzero"`
	Data            Bill      `json:"data"`
}

func newPlainEvent() plainEvent {
	id := func() uuid.UUID { return randomV7(time.Now()) }
	return plainEvent{
		SpecVersion: "1.0", ID: id(), Source: "tidings", Type: billedName, Time: time.Now().UTC().Truncate(time.Microsecond),
		DataContentType: "application/json", DataVersion: billedVersion, CorrelationID: id(), CausationID: id(), Data: bill,
	}
}

// codecSample returns one event in all its forms.
func codecSample() (r *tidings.Registry, plain plainEvent, event tidings.Event, text []byte, err error) {
	r, plain = logRegistry(), newPlainEvent()
	if text, err = json.Marshal(&plain); err != nil {
		return nil, plain, nil, nil, err
	}
	if event, err = r.Decode(text); err != nil {
		return nil, plain, nil, nil, err
	}
	again, err := r.Encode(event)
	if err == nil && string(again) != string(text) {
		err = fmt.Errorf("the subjects do not write the same:\n%s\n%s", again, text)
	}
	return r, plain, event, text, err
}

// encoded and decoded keep what the subjects make, so that it is made.
var (
	encoded [Lanes][]byte
	decoded [Lanes]int64
)

const codecNote = "The CloudEvent of one event, %d bytes, the same byte for byte. By hand it is a struct with the same fields, " +
	"uuid.UUID and time.Time among them, and the event's data as a struct in it."

func encoding() Case {
	return codecCase(keyEncode, "Encoding an event", bareMarshal, []Subject{
		{Name: bareMarshal, Note: "encoding/json, of a pointer to the struct", Setup: func() (*Runner, error) {
			_, plain, _, _, err := codecSample()
			return codecRunner(func(lane int) (err error) {
				encoded[lane], err = json.Marshal(&plain)
				return err
			}), err
		}},
		{Name: Tidings, Note: "Registry.Encode", Setup: func() (*Runner, error) {
			r, _, event, _, err := codecSample()
			return codecRunner(func(lane int) (err error) {
				encoded[lane], err = r.Encode(event)
				return err
			}), err
		}},
	})
}

func decoding() Case {
	return codecCase(keyDecode, "Decoding an event", bareUnmarshal, []Subject{
		{Name: bareUnmarshal, Note: "encoding/json, into the struct", Setup: func() (*Runner, error) {
			_, _, _, text, err := codecSample()
			return codecRunner(func(lane int) error {
				var e plainEvent
				err := json.Unmarshal(text, &e)
				decoded[lane] = e.Data.Cents
				return err
			}), err
		}},
		{Name: Tidings, Note: "Registry.Decode", Setup: func() (*Runner, error) {
			r, _, _, text, err := codecSample()
			return codecRunner(func(lane int) error {
				event, err := r.Decode(text)
				if err != nil {
					return err
				}
				e, ok := event.(Billed)
				if !ok {
					return errors.New("decoded into another type")
				}
				decoded[lane] = e.Cents
				return nil
			}), err
		}},
	})
}

func codecCase(key, title, baseline string, subjects []Subject) Case {
	note := codecNote
	if _, _, _, text, err := codecSample(); err == nil {
		note = fmt.Sprintf(codecNote, len(text))
	}
	return Case{Key: key, Title: title, Note: note, Baseline: baseline, Subjects: subjects}
}

func codecRunner(do func(lane int) error) *Runner {
	return &Runner{Do: func(lane, n int) error {
		for range n {
			if err := do(lane); err != nil {
				return err
			}
		}
		return nil
	}}
}
