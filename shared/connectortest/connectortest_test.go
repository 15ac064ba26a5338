package connectortest_test

import (
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
)

func TestMemory(t *testing.T) {
	openStore := func(*testing.T) connector.Store { return connectortest.NewStore() }
	connectortest.TestStore(t, openStore)
	connectortest.TestStoreConcurrency(t, openStore)
	connectortest.TestVault(t, func(*testing.T) connector.Vault { return connectortest.NewVault() })
}
