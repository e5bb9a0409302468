package nats_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
)

// A file of credentials, as nsc and hosted NATS make them.
func TestCredsFile(t *testing.T) {
	t.Parallel()
	operator, system, account, user := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateUser)
	operatorClaims := jwt.NewOperatorClaims(operator.public)
	operatorClaims.SystemAccount = system.public
	_ = encode(t, operatorClaims, operator)
	accountClaims := jwt.NewAccountClaims(account.public)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit}

	accounts := &server.MemAccResolver{}
	require.NoError(t, accounts.Store(system.public, encode(t, jwt.NewAccountClaims(system.public), operator)))
	require.NoError(t, accounts.Store(account.public, encode(t, accountClaims, operator)))
	s := startServer(t, func(o *server.Options) {
		o.TrustedOperators = []*jwt.OperatorClaims{operatorClaims}
		o.SystemAccount = system.public
		o.AccountResolver = accounts
	})

	seed, err := user.Seed()
	require.NoError(t, err)
	creds, err := jwt.FormatUserConfig(encode(t, jwt.NewUserClaims(user.public), account), seed)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "user.creds")
	require.NoError(t, os.WriteFile(file, creds, 0o600))
	publish(t, openBroker(t, s.url()+"?creds="+file), "topic", 1, 1)

	_, err = openRelay(t.Context(), s.url())
	require.True(t, isUnreachable(err), "without: %v", err)
}

type key struct {
	nkeys.KeyPair
	public string
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) key {
	t.Helper()
	pair, err := create()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	return key{pair, public}
}

func encode(t *testing.T, claims jwt.Claims, by key) string {
	t.Helper()
	token, err := claims.Encode(by)
	require.NoError(t, err)
	return token
}
