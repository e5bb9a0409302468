package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

func TestCredentials(t *testing.T) {
	for _, tt := range []struct {
		name, userinfo         string
		envUser, envPassword   string
		wantUser, wantPassword string
		reason                 string
	}{
		{"none", "", "", "", "", "", ""},
		{"url", "me:p%40ss%2Fword@", "", "", "me", "p@ss/word", "they are decoded"},
		{"environment", "", "me", "p@ss%2F", "me", "p@ss%2F", "these are taken as they are"},
		{"both", "me:secret@", "you", "other", "me", "secret", "the URL is the more specific"},
		{"user alone", "me@", "you", "other", "me", "", "the password of somebody else is not sent"},
		{"empty", "@", "you", "other", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TIDINGS_BROKER_USERNAME", tt.envUser)
			t.Setenv("TIDINGS_BROKER_PASSWORD", tt.envPassword)
			target := targetOf(t, "host", "test://"+tt.userinfo+"host:1234/path?a=b#fragment")
			require.Equal(t, tt.wantUser, target.Username, tt.reason)
			require.Equal(t, tt.wantPassword, target.Password, tt.reason)
			require.Equal(t, &url.URL{Scheme: "test", Host: "host:1234", Path: "/path", Fragment: "fragment"}, target.URL, "neither credentials nor parameters")
		})
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	target := targetOf(t, "params", "test://params?s=text&b=true&i=7&d=90s&empty=&other=1&bad=x&low=1&negative=-1s")
	p := target.Params
	require.Nil(t, target.TLS)
	require.Equal(t, "text", p.String("s", "no"))
	require.Equal(t, "otherwise", p.String("missing", "otherwise"))
	require.Equal(t, "otherwise", p.String("empty", "otherwise"))

	b, err := p.Bool("b", false)
	require.True(t, b)
	require.NoError(t, err)
	b, err = p.Bool("missing", true)
	require.True(t, b)
	require.NoError(t, err)
	_, err = p.Bool("bad", false)
	require.EqualError(t, err, `the parameter bad="x" must be true or false`)

	n, err := p.Int("i", 1, 7)
	require.Equal(t, 7, n)
	require.NoError(t, err)
	n, err = p.Int("missing", 3, 7)
	require.Equal(t, 3, n)
	require.NoError(t, err)
	_, err = p.Int("bad", 1, 1)
	require.EqualError(t, err, `the parameter bad="x" must be an integer >= 1`)
	_, err = p.Int("low", 9, 2)
	require.EqualError(t, err, `the parameter low="1" must be an integer >= 2`)

	d, err := p.Duration("d", 0)
	require.Equal(t, 90*time.Second, d)
	require.NoError(t, err)
	d, err = p.Duration("missing", time.Hour)
	require.Equal(t, time.Hour, d)
	require.NoError(t, err)
	for _, name := range []string{"bad", "negative", "low"} {
		_, err = p.Duration(name, 0)
		require.ErrorContains(t, err, `must be a positive duration such as "90s"`)
	}

	require.EqualError(t, p.Unused(), `the URL has unknown parameters: "other"; the known ones are b, bad, d, empty, i, low, missing, negative, s, tls, tls_ca, tls_cert, tls_key, tls_server_name`)
	require.Empty(t, p.String("other", "")[1:])
	require.NoError(t, p.Unused())
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	for _, tt := range []struct {
		name, params string
		check        func(*tls.Config)
	}{
		{"off", "tls=false", func(c *tls.Config) { require.Nil(t, c) }},
		{"on", "tls=true", func(c *tls.Config) { require.Nil(t, c.RootCAs) }},
		{"name", "tls_server_name=broker.internal", func(c *tls.Config) { require.Equal(t, "broker.internal", c.ServerName) }},
		{"ca", "tls_ca=" + cert, func(c *tls.Config) {
			require.False(t, c.RootCAs.Equal(x509.NewCertPool()), "the file's certificate is trusted")
		}},
		{"client", "tls_cert=" + cert + "&tls_key=" + key, func(c *tls.Config) { require.Len(t, c.Certificates, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := targetOf(t, "tls-"+tt.name, "test://tls-"+tt.name+"?"+tt.params).TLS
			tt.check(config)
			if config != nil {
				require.EqualValues(t, tls.VersionTLS12, config.MinVersion)
				require.False(t, config.InsecureSkipVerify)
			}
		})
	}
	_, err := relay.Open(t.Context(), "test://tls?tls_cert="+cert+"&tls_key="+cert, newRegistry())
	require.ErrorContains(t, err, "tls_cert and tls_key: ")
}

// certificate returns the files of a certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", keyDER)
}

// A driver gets the logger of the relay.
func TestTargetLogger(t *testing.T) {
	t.Parallel()
	var text logs
	answer(t, "logger", func(target relay.Target) (relay.Broker, error) {
		target.Logger.Warn("lost for a moment")
		return newBroker(t), nil
	})
	_, err := relay.Open(t.Context(), "test://logger", newRegistry(), relay.WithLogger(slog.New(slog.NewTextHandler(&text, nil))))
	require.NoError(t, err)
	require.Contains(t, text.String(), `level=WARN msg="lost for a moment"`)
}
