package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// A kind of stream.
type kind bool

const (
	topicStream kind = false // for any number of groups
	queueStream kind = true  // for one: what a handler is to try again or has given up
)

// streams finds the streams of subjects, and makes those that do not exist.
type streams struct {
	js       jetstream.JetStream
	template jetstream.StreamConfig
	logger   watermill.LoggerAdapter
	making   chan struct{} // held while one is looked for: a lock that a ctx can end

	// known are the subjects that have a stream, until the server says that
	// they have none: string to struct{}.
	known sync.Map
	// seen is what the server has last said of a subject's stream, so that
	// one that is deleted is missed, and made again as it was: string to
	// *jetstream.StreamInfo. Stored to while making is held.
	seen sync.Map
}

func newStreams(js jetstream.JetStream, template jetstream.StreamConfig, logger watermill.LoggerAdapter) *streams {
	return &streams{js: js, template: template, logger: logger, making: make(chan struct{}, 1)}
}

// A stream is one that the server has just said to exist.
type stream struct {
	*jetstream.StreamInfo
	isNew bool // nothing was in it before it was looked for
}

// ensure makes the stream of a topic, unless it is known to exist. It is for
// publishers, and an error if the stream would not keep a message until the
// groups are back.
func (s *streams) ensure(ctx context.Context, subject string) error {
	if _, ok := s.known.Load(subject); ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answeredWithin)
	defer cancel()
	if err := s.lock(ctx, subject); err != nil {
		return err
	}
	defer s.unlock()
	if _, ok := s.known.Load(subject); ok { // another publisher has asked meanwhile
		return nil
	}
	found, err := s.findLocked(ctx, subject, topicStream)
	if err != nil {
		return err
	}
	if found.Config.Retention == jetstream.InterestPolicy && found.wasMadeAgain(2*relay.DeclareEvery) {
		return fmt.Errorf("the stream %q was gone, and keeps nothing for consumers that are not there: they have %v to come back", found.Config.Name, 2*relay.DeclareEvery)
	}
	s.known.Store(subject, struct{}{})
	return nil
}

// forget has the next publisher ask the server for the stream.
func (s *streams) forget(subject string) { s.known.Delete(subject) }

var errGone = errors.New("somebody has deleted it, or the server has lost its data: what was in it and not handled is lost")

// lock ends soon, however many wait for a server that does not answer.
func (s *streams) lock(ctx context.Context, subject string) error {
	select {
	case s.making <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the stream of %q: %w", subject, ctx.Err())
	}
}

func (s *streams) unlock() { <-s.making }

// find asks the server for the stream of a subject, and makes it if there is
// none.
func (s *streams) find(ctx context.Context, subject string, k kind) (stream, error) {
	ctx, cancel := context.WithTimeout(ctx, answeredWithin)
	defer cancel()
	if err := s.lock(ctx, subject); err != nil {
		return stream{}, err
	}
	defer s.unlock()
	return s.findLocked(ctx, subject, k)
}

func (s *streams) findLocked(ctx context.Context, subject string, k kind) (stream, error) {
	found, err := s.findOrMake(ctx, subject, k)
	for range 2 { // others make streams and delete them meanwhile
		if !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && !hasCode(err, codeSubjectOverlap) {
			break
		}
		select {
		case <-time.After(publishPause):
		case <-ctx.Done():
		}
		found, err = s.findOrMake(ctx, subject, k)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		err = fmt.Errorf("it exists, and does not have the subject %q: add that (nats stream edit): %w", subject, err)
	}
	if err != nil {
		return stream{}, fmt.Errorf("the stream %q: %w", assetOf(subject), err)
	}
	if was := s.lastSeen(subject); was != nil && !isSame(was, found.StreamInfo) {
		s.logger.Error("relay/nats: the stream of a topic is gone, and another one is in its place", errGone,
			watermill.LogFields{"topic": subject, "stream": found.Config.Name})
	}
	s.seen.Store(subject, found.StreamInfo)
	return found, nil
}

// findOrMake looks for the stream by the subject: an operator may have made one
// for many.
func (s *streams) findOrMake(ctx context.Context, subject string, k kind) (stream, error) {
	name, err := s.js.StreamNameBySubject(ctx, subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		made, err := s.js.CreateStream(ctx, s.config(subject, k))
		if err != nil {
			return stream{}, err
		}
		return stream{made.CachedInfo(), true}, nil
	}
	if err != nil {
		return stream{}, err
	}
	found, err := s.js.Stream(ctx, name)
	if err != nil {
		return stream{}, err
	}
	return stream{found.CachedInfo(), false}, nil
}

func (s *streams) lastSeen(subject string) *jetstream.StreamInfo {
	info, ok := s.seen.Load(subject)
	if !ok {
		return nil
	}
	return info.(*jetstream.StreamInfo)
}

// config returns the settings for the stream of a subject: those that it had when
// it was last seen, if it was.
func (s *streams) config(subject string, k kind) jetstream.StreamConfig {
	if was := s.lastSeen(subject); was != nil {
		c := was.Config
		c.Metadata = maps.Clone(c.Metadata)
		if c.Metadata == nil {
			c.Metadata = map[string]string{}
		}
		c.Metadata[againKey] = "true"
		return c
	}
	c := s.template
	c.Name, c.Subjects, c.Retention = assetOf(subject), []string{subject}, jetstream.LimitsPolicy
	if k == queueStream {
		c.Retention, c.MaxAge = jetstream.WorkQueuePolicy, 0
	}
	return c
}

// againKey marks a stream that was made again, by a process which knew that it
// was gone, for processes which do not know.
const againKey = "tidings-again"

// wasMadeAgain reports whether that was within the time, by the server's clock.
func (s stream) wasMadeAgain(within time.Duration) bool {
	return s.Config.Metadata[againKey] != "" && s.TimeStamp.Sub(s.Created) < within
}

// isSame reports whether it is the same stream, and not one that was made later.
func isSame(a, b *jetstream.StreamInfo) bool {
	return a.Config.Name == b.Config.Name && a.Created.Equal(b.Created)
}

// Codes of errors that the client has no names for.
const (
	codeNoLeader        jetstream.ErrorCode = 10008
	codeSubjectOverlap  jetstream.ErrorCode = 10065
	codeMessageTooLarge jetstream.ErrorCode = 10054 // for its stream
	codeHeaderTooLarge  jetstream.ErrorCode = 10097 // more than 64 KiB
)

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}
