package aws

import (
	"bytes"
	"io"
	"net/http"
)

// A client sends the requests of the SDK's clients.
type client interface {
	Do(*http.Request) (*http.Response, error)
}

// wholeBodies sends requests with copies of their bodies. The SDK closes the
// body of a request when the answer begins. If net/http still uses it then, as
// may happen on a busy machine with the server nearby, it cuts the connection
// in the middle of the answer, and no consumer gets the messages in it until
// their visibility timeout ends.
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
