package bench

import (
	"context"
	"net/url"

	"github.com/ThreeDotsLabs/watermill"
	wmsns "github.com/ThreeDotsLabs/watermill-aws/sns"
	wmsqs "github.com/ThreeDotsLabs/watermill-aws/sqs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	_ "github.com/tidings-go/tidings/relay/aws"
)

func onSQS() relayBroker {
	return onService("SNS and SQS (fauxqs)", "TIDINGS_AWS_URL", bareSQS)
}

// bareSQS is the adapter with raw message delivery, as the relay has it.
func bareSQS(text string) (*barePost, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	topic := nextRun()
	endpoint := aws.String(u.Query().Get("endpoint"))
	config := aws.Config{Region: u.Host, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	toSNS := []func(*sns.Options){func(o *sns.Options) { o.BaseEndpoint = endpoint }}
	toSQS := []func(*sqs.Options){func(o *sqs.Options) { o.BaseEndpoint = endpoint }}
	const account = "000000000000"
	resolver, err := wmsns.NewGenerateArnTopicResolver(account, u.Host)
	if err != nil {
		return nil, err
	}
	p, err := wmsns.NewPublisher(wmsns.PublisherConfig{AWSConfig: config, OptFns: toSNS, TopicResolver: resolver, Marshaler: toTopic{}}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	if _, err := p.CreateTopic(context.Background(), topic); err != nil {
		return nil, err
	}
	s, err := wmsns.NewSubscriber(wmsns.SubscriberConfig{
		AWSConfig: config, OptFns: toSNS, TopicResolver: resolver,
		GenerateSqsQueueName: wmsns.GenerateSqsQueueNameEqualToTopicName,
	}, wmsqs.SubscriberConfig{AWSConfig: config, OptFns: toSQS}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	return newBarePost(topic, p, s)
}

// toTopic is the adapter's marshaler with the name of the topic where fauxqs
// looks for it, and without the attributes that are too many for SNS.
type toTopic struct {
	wmsns.DefaultMarshalerUnmarshaler
}

func (t toTopic) Marshal(topic wmsns.TopicArn, m *message.Message) *sns.PublishInput {
	few := message.NewMessage(m.UUID, m.Payload)
	for _, key := range []string{"content-type", "ce-id", "ce-type"} {
		few.Metadata[key] = m.Metadata[key]
	}
	input := t.DefaultMarshalerUnmarshaler.Marshal(topic, few)
	input.TopicArn, input.TargetArn = input.TargetArn, nil
	return input
}
