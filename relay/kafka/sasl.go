package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// login sets how to log in, if there is a user.
func login(config *sarama.Config, mechanism, username, password string) error {
	s := &config.Net.SASL
	switch mechanism {
	case "plain":
		s.Mechanism = sarama.SASLTypePlaintext
	case "scram-sha-256":
		s.Mechanism = sarama.SASLTypeSCRAMSHA256
		s.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
	case "scram-sha-512":
		s.Mechanism = sarama.SASLTypeSCRAMSHA512
		s.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
	default:
		return fmt.Errorf(`the parameter sasl=%q must be "plain", "scram-sha-256" or "scram-sha-512"`, mechanism)
	}
	if username == "" {
		s.Mechanism, s.SCRAMClientGeneratorFunc = "", nil
		return nil
	}
	if password == "" {
		return errors.New("there is a user name but no password: put both into the URL, or into TIDINGS_BROKER_USERNAME and TIDINGS_BROKER_PASSWORD")
	}
	s.Enable, s.User, s.Password = true, username, password
	return nil
}

// A scramClient implements a SCRAM login for sarama.
type scramClient struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *scramClient) Begin(username, password, authzID string) error {
	client, err := c.hash.NewClient(username, password, authzID)
	if err != nil {
		return err
	}
	c.ClientConversation = client.NewConversation()
	return nil
}
