package portal_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/portal"
	"github.com/tidings-go/tidings/tidingstest"
)

var tern = events.ClientCreated{ClientID: 7, Firm: "Mill", Company: "Tern", ContactEmail: "ops@tern.example", Portal: true}

func TestOpenAccount(t *testing.T) {
	t.Parallel()
	var requests []string
	bus := setup(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		requests = append(requests, r.Method+" "+r.URL.Path+" "+string(body))
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, tern))
	require.Equal(t, []string{`PUT /v1/accounts/7 {"company":"Tern","email":"ops@tern.example","firm":"Mill"}`}, requests)

	without := tern
	without.Portal = false
	require.NoError(t, tidings.Publish(t.Context(), bus, without))
	require.Len(t, requests, 1, "this client wants no account")
}

func TestOpenAccount_Refused(t *testing.T) {
	t.Parallel()
	bus := setup(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no room", http.StatusInsufficientStorage) })
	err := tidings.Publish(t.Context(), bus, tern)
	require.ErrorContains(t, err, "portal.open_account")
	require.ErrorContains(t, err, "507 Insufficient Storage: no room")
}

func setup(t *testing.T, serve http.HandlerFunc) *tidings.EventBus {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL + "/v1")
	require.NoError(t, err)
	bus := tidingstest.NewBus(t)
	portal.Register(bus, base)
	return bus
}
