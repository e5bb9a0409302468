// Package portal is the module that opens accounts in the client portal,
// another program that it reaches over HTTP and that may be down.
package portal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
)

type module struct {
	base   *url.URL
	client *http.Client
}

// Register subscribes the module's handlers. The portal is at base.
func Register(bus *tidings.EventBus, base *url.URL) {
	m := &module{base, &http.Client{Timeout: 5 * time.Second}}
	tidings.Subscribe(bus, m.openAccount, tidings.Named("portal.open_account"))
}

// openAccount runs after the commit: if the portal is down, the client exists
// nevertheless. PUT makes it idempotent.
func (m *module) openAccount(ctx context.Context, e events.ClientCreated) error {
	if !e.Portal {
		return nil
	}
	account, err := json.Marshal(map[string]string{"firm": e.Firm, "company": e.Company, "email": e.ContactEmail})
	if err != nil {
		return err
	}
	target := m.base.JoinPath("accounts", strconv.FormatInt(e.ClientID, 10)).String()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, target, bytes.NewReader(account))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := m.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // the status counts
		return fmt.Errorf("PUT %s: %s: %s", target, response.Status, bytes.TrimSpace(reason))
	}
	return nil
}
