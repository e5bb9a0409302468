package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// A kind of stream.
type kind bool

const (
	topicStream kind = false // for any number of groups
	queueStream kind = true  // for one: what a handler is to try again or has given up
)

// streams are those that this process knows to exist.
type streams struct {
	js       jetstream.JetStream
	template jetstream.StreamConfig
	known    sync.Map      // of subjects: string to struct{}
	making   chan struct{} // held while one is made: a lock that a ctx can end
}

func newStreams(js jetstream.JetStream, template jetstream.StreamConfig) *streams {
	return &streams{js: js, template: template, making: make(chan struct{}, 1)}
}

// ensure makes the stream of a subject, unless it exists. It ends soon, however
// many wait for a server that does not answer.
func (s *streams) ensure(ctx context.Context, subject string, k kind) error {
	if _, ok := s.known.Load(subject); ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answeredWithin)
	defer cancel()
	select {
	case s.making <- struct{}{}:
		defer func() { <-s.making }()
	case <-ctx.Done():
		return fmt.Errorf("the stream %q: %w", assetOf(subject), ctx.Err())
	}
	if _, ok := s.known.Load(subject); ok {
		return nil
	}
	name := assetOf(subject)
	// Who may use a stream may not be allowed to make one.
	_, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = s.js.CreateStream(ctx, s.config(name, subject, k))
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // which another process has made just now
		return fmt.Errorf("the stream %q: %w", name, err)
	}
	s.known.Store(subject, struct{}{})
	return nil
}

func (s *streams) forget(subject string) { s.known.Delete(subject) }

func (s *streams) config(name, subject string, k kind) jetstream.StreamConfig {
	c := s.template
	c.Name, c.Subjects, c.Retention = name, []string{subject}, jetstream.LimitsPolicy
	if k == queueStream {
		c.Retention, c.MaxAge = jetstream.WorkQueuePolicy, 0
	}
	return c
}
