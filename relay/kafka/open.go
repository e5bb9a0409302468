package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
)

func init() { relay.RegisterBroker("kafka", open) }

// open is the driver for [relay.Open].
func open(ctx context.Context, t relay.Target) (relay.Broker, error) {
	addrs, err := addresses(t.URL)
	if err != nil {
		return nil, err
	}
	client := NewClientConfig()
	if t.TLS != nil {
		client.Net.TLS.Enable, client.Net.TLS.Config = true, t.TLS
	}
	if err := login(client, t.Params.String("sasl", "plain"), t.Username, t.Password); err != nil {
		return nil, err
	}
	partitions, err := t.Params.Int("partitions", defaultPartitions, 1)
	if err != nil {
		return nil, err
	}
	replication, err := t.Params.Int("replication", -1, 1)
	if err != nil {
		return nil, err
	}
	client.Producer.MaxMessageBytes, err = t.Params.Int("max_message_bytes", defaultMaxMessageBytes, 1000)
	if err != nil {
		return nil, err
	}
	if partitions > maxPartitions || replication > maxReplication {
		return nil, fmt.Errorf("the maximum is partitions=%d and replication=%d", maxPartitions, maxReplication)
	}
	if err := t.Params.Unused(); err != nil {
		return nil, err
	}
	b, err := New(Config{
		Addrs:  addrs,
		Client: client,
		Topic:  sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: int16(replication)},
		Logger: t.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := b.(*broker).dial(ctx); err != nil {
		_ = b.Close() // there is no connection that it could fail to close
		return nil, &relay.UnreachableError{Err: err}
	}
	return b, nil
}

const (
	defaultPartitions = 6
	maxPartitions     = 10_000
	maxReplication    = 1_000
)

// addresses returns the addresses of the brokers that the URL names.
func addresses(u *url.URL) ([]string, error) {
	if u.Path != "" && u.Path != "/" || u.Opaque != "" {
		return nil, errors.New(`the URL must be like "kafka://host1:9092,host2:9092", without a path`)
	}
	var addrs []string
	for host := range strings.SplitSeq(u.Host, ",") {
		if host == "" {
			return nil, errors.New(`the URL lacks a host: it must be like "kafka://host1:9092,host2:9092"`)
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "9092")
		}
		addrs = append(addrs, host)
	}
	return addrs, nil
}
