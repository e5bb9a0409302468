package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/tidings-go/tidings/relay"
)

func init() { relay.RegisterBroker("aws-sns-sqs", open) }

// open is the [relay.Driver].
func open(ctx context.Context, t relay.Target) (relay.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	retention, err := t.Params.Duration("retention", maxRetention)
	if err == nil {
		err = checkRetention(retention)
	}
	if err != nil {
		return nil, err
	}
	endpoint, err := endpointOf(t)
	if err != nil {
		return nil, err
	}
	if err := t.Params.Unused(); err != nil {
		return nil, err
	}
	settings, err := settingsOf(ctx, t)
	if err != nil {
		return nil, err
	}
	b, err := New(Config{
		SNS: sns.NewFromConfig(settings, func(o *sns.Options) {
			if endpoint != nil {
				o.BaseEndpoint = endpoint
			}
		}),
		SQS: sqs.NewFromConfig(settings, func(o *sqs.Options) {
			if endpoint != nil {
				o.BaseEndpoint = endpoint
			}
		}),
		Retention: retention,
		Logger:    t.Logger,
	})
	if err != nil {
		return nil, err
	}
	if err := b.(*broker).probe(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func endpointOf(t relay.Target) (*string, error) {
	if t.URL.Port() != "" || strings.Trim(t.URL.Path, "/") != "" {
		return nil, errors.New("the URL must be aws-sns-sqs://REGION, or aws-sns-sqs://REGION?endpoint=http://HOST:PORT for a server other than AWS")
	}
	text := t.Params.String("endpoint", "")
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the parameter endpoint must be a URL like http://localhost:4566")
	}
	if u.User != nil {
		return nil, errors.New("the parameter endpoint has credentials: put them before the region")
	}
	if u.Scheme == "http" && t.TLS != nil {
		return nil, fmt.Errorf("the parameter endpoint=%q has no TLS, although other parameters require it", text)
	}
	return &text, nil
}

// idleConnections is how many connections are kept for the next publish. With
// the client's default of 10, more publishers than that reconnect all the time.
const idleConnections = 256

// settingsOf returns the settings that the SDK finds in its environment,
// replaced by those of the URL.
func settingsOf(ctx context.Context, t relay.Target) (aws.Config, error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.MaxIdleConns, tr.MaxIdleConnsPerHost = idleConnections, idleConnections
		if t.TLS != nil {
			tr.TLSClientConfig = t.TLS
		}
	})
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(client)}
	if region := t.URL.Hostname(); region != "" {
		options = append(options, config.WithRegion(region))
	}
	if t.Username != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(t.Username, t.Password, "")))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("loading the AWS settings of the environment: %w", err)
	}
	if settings.Region == "" {
		return aws.Config{}, errors.New("neither the URL nor the environment has a region: use aws-sns-sqs://eu-central-1")
	}
	return settings, nil
}

// once makes the client try once.
func once(o *sqs.Options) { o.RetryMaxAttempts = 1 }

// probe asks for a queue that does not exist. "Does not exist" and "access
// denied" are both answers. It asks once; otherwise the error would be that
// there was no time to retry.
func (b *broker) probe(ctx context.Context) error {
	_, err := b.SQS.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("tidings-probe")}, once)
	if none := (*sqstypes.QueueDoesNotExist)(nil); err == nil || errors.As(err, &none) {
		return nil
	}
	if answer := smithy.APIError(nil); errors.As(err, &answer) {
		switch answer.ErrorCode() {
		case "AccessDenied", "AccessDeniedException":
			return nil
		}
	}
	return &relay.UnreachableError{Err: err}
}
