// Package connectortest has what tests of the connector need: small
// implementations of its ports in memory, faults around any ports, a clock that
// moves only when a test moves it, and the suites that every Store, Vault, Sealer
// and CredentialStore must pass.
package connectortest
