package redis

import (
	"context"
	"errors"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// A subscription is one consumer of a group. It runs on one goroutine, which
// holds one entry at a time: an entry's time runs from when it is read, so it
// reads none before a worker is free.
type subscription struct {
	*member
	handle   func(*relay.Message) bool
	consumer string

	acked     string        // an entry to acknowledge with the next read
	block     time.Duration // how long the next read waits
	recovered bool          // no answer got lost since it last read its own entries
	failures  int           // consecutive failed reads
	looked    time.Time     // when it last looked for overdue entries
	cleaned   time.Time     // when it last looked for dead consumers
}

// A read cannot be interrupted (the client has no way, and the server might
// deliver an entry to a connection that is being closed), so Close waits for
// it. It is short after traffic and grows during silence.
const (
	shortestBlock = 25 * time.Millisecond
	longestBlock  = time.Second
)

const (
	longestLook     = 2 * time.Second // between looks for overdue entries
	cleanInterval   = 10 * time.Minute
	firstPause      = 100 * time.Millisecond // after a read has failed
	longestPause    = 3 * time.Second
	answerMargin    = 3 * time.Second // how much longer than its wait a read may take
	farewellTimeout = 3 * time.Second
)

func (s *subscription) lookInterval() time.Duration { return min(longestLook, s.ackWait/4) }

// run fetches and passes on entries until ctx ends.
func (s *subscription) run(ctx context.Context) error {
	defer s.leave(ctx)
	for ctx.Err() == nil {
		entry, err := s.next(ctx)
		switch {
		case errors.Is(err, goredis.ErrClosed):
			return err
		case err != nil:
			s.repair(ctx, err)
		case entry != nil:
			s.failures, s.block = 0, 0
			s.handOn(ctx, *entry)
		default:
			s.failures = 0
		}
	}
	return nil
}

// next returns an entry: an overdue one, one whose answer got lost, or a new
// one; nil if there is none yet.
func (s *subscription) next(ctx context.Context) (*goredis.XMessage, error) {
	if time.Since(s.looked) >= s.lookInterval() {
		entry, err := s.overdue(ctx)
		if entry != nil || err != nil {
			return entry, err
		}
		s.looked = time.Now()
		s.clean(ctx)
	}
	if !s.recovered {
		entry, err := s.read(ctx, "0", -1)
		s.recovered = err == nil && entry == nil
		return entry, err
	}
	s.block = min(max(2*s.block, shortestBlock), longestBlock, s.lookInterval())
	return s.read(ctx, ">", s.block)
}

// read fetches an entry: a new one from ">", the consumer's own from "0".
func (s *subscription) read(ctx context.Context, from string, block time.Duration) (*goredis.XMessage, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(block, 0)+answerMargin)
	defer cancel()
	var answer *goredis.XStreamSliceCmd
	err := s.withAck(ctx, func(pipe goredis.Pipeliner) {
		answer = pipe.XReadGroup(ctx, &goredis.XReadGroupArgs{
			Group: s.group, Consumer: s.consumer, Streams: []string{s.topic, from}, Count: 1, Block: block,
		})
	})
	if err != nil {
		return nil, err
	}
	for _, stream := range answer.Val() {
		for _, entry := range stream.Messages {
			return s.existing(ctx, entry)
		}
	}
	return nil, nil
}

// withAck acknowledges the last entry and sends a command, in one round trip.
// All fetches use it, so there is at most one entry to acknowledge.
func (s *subscription) withAck(ctx context.Context, command func(goredis.Pipeliner)) error {
	pipe := s.broker.reads.Pipeline()
	acks := s.acknowledge(ctx, pipe)
	command(pipe)
	_, err := pipe.Exec(ctx)
	if len(acks) > 0 && firstError(acks) == nil {
		s.acknowledged()
	}
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// acknowledge adds the commands for the last entry: the group has handled it
// and, in a group's own stream, it can be deleted.
func (s *subscription) acknowledge(ctx context.Context, pipe goredis.Pipeliner) (commands []goredis.Cmder) {
	if s.acked == "" {
		return nil
	}
	commands = append(commands, pipe.XAck(ctx, s.topic, s.group, s.acked))
	if s.queue {
		commands = append(commands, pipe.XDel(ctx, s.topic, s.acked))
	}
	return commands
}

// acknowledged is called when the server has the acknowledgement.
func (s *subscription) acknowledged() {
	s.acked = ""
	if !s.queue {
		s.broker.trimmer.mark(s.topic)
	}
}

func firstError(commands []goredis.Cmder) error {
	for _, c := range commands {
		if err := c.Err(); err != nil {
			return err
		}
	}
	return nil
}

// existing returns the entry, or nil if it was deleted while it was pending;
// then it acknowledges the entry.
func (s *subscription) existing(ctx context.Context, entry goredis.XMessage) (*goredis.XMessage, error) {
	if len(entry.Values) > 0 {
		return &entry, nil
	}
	if entry.ID == "" {
		return nil, nil
	}
	s.deleted(entry.ID)
	return nil, s.broker.reads.XAck(ctx, s.topic, s.group, entry.ID).Err()
}

var errDeleted = errors.New("the entry does not exist any more: the stream was trimmed, by maxlen or by another client")

func (s *subscription) deleted(id string) {
	s.log().Warn("relay/redis: a message was deleted before it was handled", slog.Any("error", errDeleted), slog.String("entry", id))
}

// overdue returns an entry that a consumer of the group has not acknowledged in
// time.
func (s *subscription) overdue(ctx context.Context) (*goredis.XMessage, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	var pending *goredis.XPendingExtCmd
	err := s.withAck(ctx, func(pipe goredis.Pipeliner) {
		pending = pipe.XPendingExt(ctx, &goredis.XPendingExtArgs{
			Stream: s.topic, Group: s.group, Idle: s.ackWait, Start: "-", End: "+", Count: 10,
		})
	})
	if err != nil {
		return nil, err
	}
	for _, p := range pending.Val() {
		// Several consumers may claim it; the first one wins.
		if entry, err := s.claim(ctx, p.ID); entry != nil || err != nil {
			return entry, err
		}
	}
	return nil, nil
}

// claim takes over an overdue entry.
func (s *subscription) claim(ctx context.Context, id string) (*goredis.XMessage, error) {
	entries, _, err := s.broker.reads.XAutoClaim(ctx, &goredis.XAutoClaimArgs{
		Stream: s.topic, Group: s.group, Consumer: s.consumer, MinIdle: s.ackWait, Start: id, Count: 1,
	}).Result()
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if e, err := s.existing(ctx, entry); e != nil || err != nil {
			return e, err
		}
	}
	if len(entries) > 0 || s.queue {
		return nil, nil
	}
	// Another consumer was faster, or a server from Redis 7 on has dropped an
	// entry that no longer exists, which the client does not report.
	if found, err := s.broker.reads.XRangeN(ctx, s.topic, id, id, 1).Result(); err == nil && len(found) == 0 {
		s.deleted(id)
	}
	return nil, nil
}

// repair handles a failed read, and waits a little.
//
// The server may have delivered an entry in an answer that got lost, so the
// next read fetches the consumer's own entries. And it may have lost the group,
// if it was restarted and stores nothing.
func (s *subscription) repair(ctx context.Context, err error) {
	s.recovered, s.block = false, 0
	if s.failures++; s.failures == 1 {
		s.log().Warn("relay/redis: fetching messages failed, and is retried until it succeeds", slog.Any("error", err))
	}
	pause := min(firstPause<<min(s.failures-1, 10), longestPause)
	if isForgotten(err) {
		err = s.declare(ctx, commandTimeout)
		if err == nil && s.failures == 1 {
			return
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *subscription) log() *slog.Logger {
	return s.broker.logger.With(slog.String("topic", s.topic), slog.String("group", s.group), slog.String("consumer", s.consumer))
}
