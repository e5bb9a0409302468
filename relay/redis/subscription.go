package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"
)

// A subscription is one consumer of a group. All of it runs on one goroutine,
// which has one entry at a time in hand: an entry's time runs from when it is
// read, so that nothing is read before somebody is free for it.
type subscription struct {
	*subscriber
	topic    string
	consumer string
	messages chan *message.Message

	acked     string        // an entry that the server is to be told of with the next read
	block     time.Duration // how long the next read waits
	recovered bool          // no answer got lost since the last look at one's own entries
	failures  int           // reads that have failed in a row
	looked    time.Time     // when it last looked for overdue entries
	cleaned   time.Time     // when it last looked for consumers that are gone
}

// A read cannot be interrupted (the client has no way, and the server might hand
// an entry to a connection that is just being closed), so that Close waits for
// it. It is short where there was traffic and grows in silence.
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

// run fetches and hands on entries until ctx ends.
func (s *subscription) run(ctx context.Context) {
	defer close(s.messages)
	defer s.leave(ctx)
	for ctx.Err() == nil {
		entry, err := s.next(ctx)
		switch {
		case errors.Is(err, goredis.ErrClosed):
			return
		case err != nil:
			s.repair(ctx, err)
		case entry != nil:
			s.failures, s.block = 0, 0
			s.handOn(ctx, *entry)
		default:
			s.failures = 0
		}
	}
}

// next returns an entry: an overdue one, one whose answer got lost, or a new one;
// nil if there is none yet.
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

// read fetches an entry: a new one from ">", one's own from "0".
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
// All that fetches an entry goes through it: there is one to acknowledge at most.
func (s *subscription) withAck(ctx context.Context, command func(goredis.Pipeliner)) error {
	pipe := s.broker.reads.Pipeline()
	if s.acked != "" {
		pipe.XAck(ctx, s.topic, s.group, s.acked)
	}
	command(pipe)
	commands, err := pipe.Exec(ctx)
	if s.acked != "" && len(commands) > 0 && commands[0].Err() == nil {
		s.acked = ""
		s.broker.trimmer.mark(s.topic)
	}
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// existing returns the entry, or nil if it was deleted while it was pending,
// which is then forgotten.
func (s *subscription) existing(ctx context.Context, entry goredis.XMessage) (*goredis.XMessage, error) {
	if len(entry.Values) > 0 {
		return &entry, nil
	}
	if entry.ID == "" {
		return nil, nil
	}
	return nil, s.broker.reads.XAck(ctx, s.topic, s.group, entry.ID).Err()
}

// overdue returns an entry that somebody in the group has been silent about for
// too long.
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
		// Others look at the same time: the first one gets it.
		entries, _, err := s.broker.reads.XAutoClaim(ctx, &goredis.XAutoClaimArgs{
			Stream: s.topic, Group: s.group, Consumer: s.consumer, MinIdle: s.ackWait, Start: p.ID, Count: 1,
		}).Result()
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if e, err := s.existing(ctx, entry); e != nil || err != nil {
				return e, err
			}
		}
	}
	return nil, nil
}

// repair does what can be done after a read has failed, and waits a little.
//
// The server may have handed out an entry in an answer that got lost, so the next
// read is of one's own. And it may have forgotten the group, if it was restarted
// and stores nothing.
func (s *subscription) repair(ctx context.Context, err error) {
	s.recovered, s.block = false, 0
	if s.failures++; s.failures == 1 {
		s.broker.logger.Error("relay/redis: fetching has failed, and is tried until it succeeds", err, s.fields())
	}
	pause := min(firstPause<<min(s.failures-1, 10), longestPause)
	if isForgotten(err) {
		declareCtx, cancel := context.WithTimeout(ctx, commandTimeout)
		defer cancel()
		err = s.declare(declareCtx, s.topic, fromStart)
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

// isForgotten reports whether the server has no such stream or group.
func isForgotten(err error) bool {
	for _, prefix := range []string{"NOGROUP", "UNBLOCKED", "ERR no such key"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}

func (s *subscription) fields() watermill.LogFields {
	return watermill.LogFields{"topic": s.topic, "group": s.group, "consumer": s.consumer}
}
