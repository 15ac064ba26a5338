// Package connectortest has what tests of the connector need: small real
// implementations of its ports that keep everything in memory, a clock that
// moves when told, and the suites that every Store, every Vault and every Sealer
// must pass.
package connectortest
