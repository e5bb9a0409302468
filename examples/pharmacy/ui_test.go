package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServeUI(t *testing.T) {
	t.Parallel()
	p, err := open(t.Context(), filepath.Join(t.TempDir(), "pharmacy.db"), 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.close(t.Context())) })
	require.NoError(t, p.publish(t.Context(), 1))
	var out bytes.Buffer
	stop, err := p.serveUI(t.Context(), "127.0.0.1:0", &out)
	require.NoError(t, err)
	t.Cleanup(stop)
	_, url, found := strings.Cut(strings.TrimSpace(out.String()), "River UI: ")
	require.True(t, found, out.String())

	get := func(path, host, origin string) (int, []byte) {
		method := http.MethodGet
		if origin != "" {
			method = http.MethodPost
		}
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(`{"ids":["1"]}`))
		require.NoError(t, err)
		if host != "" {
			request.Host = host
		}
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, body
	}

	status, page := get("/", "", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, string(page), "<title>River</title>")

	status, body := get("/api/jobs?state=available&limit=10", "", "")
	require.Equal(t, http.StatusOK, status)
	var jobs struct {
		Data []struct{ Kind string }
	}
	require.NoError(t, json.Unmarshal(body, &jobs))
	require.Len(t, jobs.Data, 2)
	require.ElementsMatch(t, []string{"fulfilment.pick", "fulfilment.ship"}, []string{jobs.Data[0].Kind, jobs.Data[1].Kind})

	status, _ = get("/api/jobs", "pharmacy.example:80", "")
	require.Equal(t, http.StatusForbidden, status, "a name of another site that leads here")
	status, _ = get("/api/jobs/cancel", "", "https://pharmacy.example")
	require.Equal(t, http.StatusForbidden, status, "a form on another site")
	status, body = get("/api/jobs/cancel", "", url)
	require.Equal(t, http.StatusOK, status, string(body))
}

func TestListenLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		listener, err := listenLoopback(address)
		require.NoError(t, err, address)
		require.NoError(t, listener.Close())
	}
}
