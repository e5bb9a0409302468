package aws_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
)

func TestOpenRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, err, reason string }{
		{"aws-sns-sqs://eu-central-1?retention=30s", "must be between 1m0s and", "too short"},
		{"aws-sns-sqs://eu-central-1?retention=337h", "must be between 1m0s and", "too long"},
		{"aws-sns-sqs://eu-central-1?retention=x", "retention", ""},
		{"aws-sns-sqs://eu-central-1?endpoint=localhost:4566", "endpoint", "no scheme"},
		{"aws-sns-sqs://eu-central-1?endpoint=ftp://localhost", "endpoint", ""},
		{"aws-sns-sqs://eu-central-1?endpoint=http%3A%2F%2Fkey%3Ahunter2%40localhost", "credentials", ""},
		{"aws-sns-sqs://eu-central-1?endpoint=http://localhost&tls=true", "has no TLS", ""},
		{"aws-sns-sqs://eu-central-1?queue=x", `"queue"`, "unknown"},
		{"aws-sns-sqs://localhost:4566", "endpoint=http://HOST:PORT", "a host is no region"},
		{"aws-sns-sqs://eu-central-1/orders", "aws-sns-sqs://REGION", ""},
	} {
		_, err := relay.Open(t.Context(), c.url, &tidings.Registry{})
		require.ErrorContains(t, err, c.err, "%s %s", c.url, c.reason)
		var unreachable *relay.UnreachableError
		require.NotErrorAs(t, err, &unreachable, c.url)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestNewRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := aws.New(aws.Config{})
	require.ErrorContains(t, err, "nil Config.SNS")
	toSNS, toSQS := clients(t, "aws-sns-sqs://a:b@eu-central-1?endpoint=http://127.0.0.1:1")
	_, err = aws.New(aws.Config{SNS: toSNS, SQS: toSQS, Retention: time.Second})
	require.ErrorContains(t, err, "retention")
}

// openAt opens what is at an endpoint.
func openAt(ctx context.Context, endpoint string) error {
	_, err := relay.Open(ctx, "aws-sns-sqs://AKIAEXAMPLE:hunter2@eu-central-1?endpoint="+endpoint, &tidings.Registry{})
	return err
}

func TestOpenUnreachable(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(ended) })

	refusing := answering(t, 403, `{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"The security token included in the request is invalid."}`)
	for _, c := range []struct {
		name, endpoint, err string
		within              time.Duration
	}{
		{"nobody listens", fmt.Sprintf("http://127.0.0.1:%d", testport.Reserve(t)), "refused", patience},
		{"no answer", silent.URL, "deadline", 3 * time.Second},
		{"wrong credentials", refusing, "security token", patience},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.within)
		err := openAt(ctx, c.endpoint)
		cancel()
		var unreachable *relay.UnreachableError
		require.ErrorAs(t, err, &unreachable, c.name)
		require.ErrorContains(t, err, c.err, c.name)
		require.Positive(t, unreachable.RetryAfter, c.name)
		require.NotContains(t, err.Error(), "hunter2", c.name)
	}
}

// Who may send to some topics only, and not ask for queues, is let in.
func TestOpenWithFewPermissions(t *testing.T) {
	t.Parallel()
	require.NoError(t, openAt(t.Context(), answering(t, 403, `{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}`)))
	require.NoError(t, openAt(t.Context(), answering(t, 400, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no"}`)))
}

// answering is the URL of a server that has one answer.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTLS(t *testing.T) {
	t.Parallel()
	secured := httptest.NewTLSServer(proxyTo(t))
	t.Cleanup(secured.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw}), 0o600))
	require.NoError(t, openAt(t.Context(), secured.URL+"&tls_ca="+url.QueryEscape(ca)))
	require.ErrorContains(t, openAt(t.Context(), secured.URL), "certificate")
}

// proxyTo passes requests on to the server of the tests.
func proxyTo(t *testing.T) http.Handler {
	t.Helper()
	u, err := url.Parse(server(t))
	require.NoError(t, err)
	endpoint, err := url.Parse(u.Query().Get("endpoint"))
	require.NoError(t, err)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(endpoint) }}
}

// The server goes away, hangs, and comes back.
func TestServerInTrouble(t *testing.T) {
	t.Parallel()
	var down, hangs atomic.Bool
	ended := make(chan struct{})
	pass := proxyTo(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler) // the connection is cut
		}
		if hangs.Load() {
			select {
			case <-ended:
			case <-r.Context().Done():
			}
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(func() { close(ended) })
	toSNS, toSQS := clients(t, "aws-sns-sqs://a:b@us-east-1?endpoint="+front.URL)
	b, err := aws.New(aws.Config{SNS: toSNS, SQS: toSQS})
	require.NoError(t, err)
	topic := b.Topic("t" + uuid.NewString())
	_, messages := subscribe(t, b, relay.Group{Name: t.Name() + uuid.NewString(), AckWait: 2 * time.Second}, topic)
	publish(t, b, topic, "before")
	wantBodies(t, messages, "before")

	down.Store(true)
	begin := time.Now()
	require.Error(t, b.Publish(t.Context(), topic, &relay.Message{ID: "id", Body: []byte("lost")}))
	require.Less(t, time.Since(begin), 4*aws.RequestWithin) // on a slow machine
	down.Store(false)
	publish(t, b, topic, "after")
	wantBodies(t, messages, "after")

	hangs.Store(true)
	m := &relay.Message{ID: "id", Body: []byte("lost")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(100*time.Millisecond, cancel)
	require.ErrorIs(t, b.Publish(ctx, topic, m), context.Canceled)
	begin = time.Now()
	require.ErrorIs(t, b.Publish(t.Context(), topic, m), context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 4*aws.RequestWithin)
	hangs.Store(false)
	publish(t, b, topic, "in the end")
	wantBodies(t, messages, "in the end")
}
