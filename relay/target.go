package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Target tells a [Driver] what [Open] was given.
//
// The credentials come from the URL or, if it has none, from the environment:
// TIDINGS_BROKER_USERNAME and TIDINGS_BROKER_PASSWORD.
//
// The connection uses TLS if the scheme says so, or with the parameter
// tls=true. Further parameters, each of which implies it: tls_ca is a file with
// the certificates to trust in place of the system's, tls_cert and tls_key are
// files with a certificate and key for the client, tls_server_name is the name
// to expect in the server's certificate. All files are in PEM.
type Target struct {
	URL                *url.URL // without credentials
	Username, Password string
	TLS                *tls.Config // nil: no parameter asks for it
	Params             Params      // the other parameters

	// Logger is the logger of the relay, see [WithLogger]. A broker logs the
	// problems from which it recovers by itself at level WARN, and anything else
	// at level DEBUG.
	Logger *slog.Logger
}

func newTarget(brokerURL string, logger *slog.Logger) (Target, error) {
	u, err := parseURL(brokerURL)
	if err != nil {
		return Target{}, err
	}
	t := Target{URL: u, Logger: logger}
	t.Username, t.Password = os.Getenv("TIDINGS_BROKER_USERNAME"), os.Getenv("TIDINGS_BROKER_PASSWORD")
	if u.User != nil {
		t.Username = u.User.Username()
		t.Password, _ = u.User.Password()
	}
	u.User = nil
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Target{}, fmt.Errorf("the parameters of the URL cannot be read: %w", err)
	}
	u.RawQuery = ""
	t.Params = Params{values: values, used: map[string]bool{}}
	t.TLS, err = tlsConfig(t.Params)
	return t, err
}

func tlsConfig(p Params) (*tls.Config, error) {
	on, err := p.Bool("tls", false)
	if err != nil {
		return nil, err
	}
	ca, cert, key, name := p.String("tls_ca", ""), p.String("tls_cert", ""), p.String("tls_key", ""), p.String("tls_server_name", "")
	if !on && ca == "" && cert == "" && key == "" && name == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s has no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("tls_cert and tls_key must be set together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert and tls_key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// Params are the parameters of a URL.
type Params struct {
	values url.Values
	used   map[string]bool
}

// String returns the parameter of that name, or otherwise if there is none.
func (p Params) String(name, otherwise string) string {
	p.used[name] = true
	if v := p.values.Get(name); v != "" {
		return v
	}
	return otherwise
}

// Bool returns the parameter of that name, or otherwise if there is none.
func (p Params) Bool(name string, otherwise bool) (bool, error) {
	v := p.String(name, "")
	if v == "" {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("the parameter %s=%q must be true or false", name, v)
	}
	return b, nil
}

// Int returns the parameter of that name, which must be at least least, or
// otherwise if there is none.
func (p Params) Int(name string, otherwise, least int) (int, error) {
	v := p.String(name, "")
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least {
		return 0, fmt.Errorf("the parameter %s=%q must be an integer >= %d", name, v, least)
	}
	return n, nil
}

// Duration returns the parameter of that name, such as "90s", or otherwise if
// there is none.
func (p Params) Duration(name string, otherwise time.Duration) (time.Duration, error) {
	v := p.String(name, "")
	if v == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf(`the parameter %s=%q must be a positive duration such as "90s"`, name, v)
	}
	return d, nil
}

// Unused returns an error that names the parameters that were never read, or
// nil if there are none. Drivers call it last.
func (p Params) Unused() error {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !p.used[name] {
			unknown = append(unknown, strconv.Quote(name))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the URL has unknown parameters: %s; the known ones are %s", strings.Join(unknown, ", "), strings.Join(slices.Sorted(maps.Keys(p.used)), ", "))
	}
	return nil
}
