// Package awslocal replaces the AWS services that the connector uses, for the local
// stack and for tests. It has one handler, one port, and all data in memory. It
// uses the protocols of the services, so that the AWS SDKs and the AWS CLI work
// with it.
//
// It verifies no signature, and has one account, 000000000000, and one region,
// us-east-1. Serve it on loopback only.
//
// # DynamoDB
//
// Tables, items, conditions and transactions are those of
// github.com/truora/minidyn. Its indexes lose items, so this package implements
// Query and Scan over its items: sparse indexes, projections, paging by key and by
// 1 MB, and filters after the limit. It does not remove attributes, so this package
// implements the REMOVE clause too. Indexes are always current. Transactions run
// one after another and do not conflict. Each transaction copies its table, so
// tables of more than some thousands of items are slow. A cancelled transaction
// names the first condition that failed, and no item. Expired items are never
// deleted. There are no streams, backups, PartiQL or capacity.
//
// # Secrets Manager
//
// Versions, stages, request tokens, and deletion with recovery or by force
// behave as documented. There is no rotation, replication, resource policy or
// KMS, versions are never removed, and lists can be filtered by name only.
//
// # SQS
//
// Standard queues: visibility timeouts, long polling, delays, retention,
// redrive to a dead-letter queue. Messages are delivered in order, which SQS does
// not guarantee, and once for each time that they become visible, while SQS may
// deliver twice. There are no FIFO queues and no message attributes.
//
// # EventBridge
//
// PutEvents stores the last 1,000 events of buses that exist. There are no rules.
//
// # STS
//
// GetCallerIdentity only.
package awslocal
