package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// A kind is a kind of stream.
type kind bool

const (
	topicStream kind = false // for any number of groups
	queueStream kind = true  // for one group: the retries or dead letters of a handler
)

// streams finds the streams of subjects, and creates the missing ones.
type streams struct {
	js       jetstream.JetStream
	template jetstream.StreamConfig
	logger   *slog.Logger
	making   chan struct{} // full while a stream is looked for: a lock whose wait ends with a ctx

	// known are the subjects that have a stream, until the server says
	// otherwise: string to struct{}.
	known sync.Map
	// seen is the server's last information about a subject's stream, so that a
	// deleted one is noticed, and created again as it was: string to
	// *jetstream.StreamInfo. It is stored to while making is held.
	seen sync.Map
}

func newStreams(js jetstream.JetStream, template jetstream.StreamConfig, logger *slog.Logger) *streams {
	return &streams{js: js, template: template, logger: logger, making: make(chan struct{}, 1)}
}

// A stream is one that the server has just reported to exist.
type stream struct {
	*jetstream.StreamInfo
	isNew bool // it was just created, and so is empty
}

// ensure creates the stream of a topic, unless it is known to exist. It is for
// publishers, and returns an error if the stream would not keep a message until
// the groups are back.
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
		return fmt.Errorf("the stream %q was deleted, and keeps no messages for consumers that are not declared again yet: they have %v for that", found.Config.Name, 2*relay.DeclareEvery)
	}
	s.known.Store(subject, struct{}{})
	return nil
}

// forget makes the next publisher ask the server for the stream.
func (s *streams) forget(subject string) { s.known.Delete(subject) }

var errGone = errors.New("it was deleted, or the server has lost its data: messages in it that were not handled are lost")

// lock ends with ctx, even if many wait for a server that does not answer.
func (s *streams) lock(ctx context.Context, subject string) error {
	select {
	case s.making <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the stream of %q: %w", subject, ctx.Err())
	}
}

func (s *streams) unlock() { <-s.making }

// find asks the server for the stream of a subject, and creates it if there is
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
	for range 2 { // others create streams and delete them meanwhile
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
		err = fmt.Errorf("it exists, but does not have the subject %q: add that (nats stream edit): %w", subject, err)
	}
	if err != nil {
		return stream{}, fmt.Errorf("the stream %q: %w", assetOf(subject), err)
	}
	if was := s.lastSeen(subject); was != nil && !isSame(was, found.StreamInfo) {
		s.logger.Warn("relay/nats: the stream of a topic was deleted, and another one has replaced it", slog.Any("error", errGone),
			slog.String("topic", subject), slog.String("stream", found.Config.Name))
	}
	s.seen.Store(subject, found.StreamInfo)
	return found, nil
}

// findOrMake finds the stream by the subject: an operator may have created one
// for many subjects.
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

// config returns the settings for the stream of a subject: the last seen
// settings, if it was seen.
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

// againKey marks a stream that was created again, by a process that knew that
// it was deleted, for processes that do not know.
const againKey = "tidings-again"

// wasMadeAgain reports whether that was within the time, by the server's clock.
func (s stream) wasMadeAgain(within time.Duration) bool {
	return s.Config.Metadata[againKey] != "" && s.TimeStamp.Sub(s.Created) < within
}

// isSame reports whether b is the same stream, and not one created later.
func isSame(a, b *jetstream.StreamInfo) bool {
	return a.Config.Name == b.Config.Name && a.Created.Equal(b.Created)
}

// Codes of errors for which the client has no names.
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
