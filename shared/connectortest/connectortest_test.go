package connectortest_test

import (
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
)

func TestStore(t *testing.T) {
	open := func(*testing.T) connector.Store { return connectortest.NewStore() }
	connectortest.TestStore(t, open)
	connectortest.TestStoreConcurrency(t, open)
}

func TestVault(t *testing.T) {
	connectortest.TestVault(t, func(*testing.T) credentialstore.Vault { return connectortest.NewVault() })
}

func TestSecrets(t *testing.T) {
	connectortest.TestCredentialStore(t, func(t *testing.T) connectortest.StoreUnderTest {
		return connectortest.NewSecretsUnderTest(connectortest.NewVault(), connectortest.Sealer{})
	})
}
