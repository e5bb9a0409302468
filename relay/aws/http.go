package aws

import (
	"bytes"
	"io"
	"net/http"
)

// A client is what clients of the SDK send requests with.
type client interface {
	Do(*http.Request) (*http.Response, error)
}

// wholeBodies sends requests with bodies of their own. The SDK closes the body of
// a request when the answer begins; if net/http is not done with it by then, which
// it need not be on a busy machine with the server nearby, it cuts the connection
// in the middle of the answer, and the messages in that are nobody's until their
// visibility timeout is over.
type wholeBodies struct{ client }

func (c wholeBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return c.client.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	own := *r
	own.Body = io.NopCloser(bytes.NewReader(body))
	own.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return c.client.Do(&own)
}
