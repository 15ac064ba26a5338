// Package awslocal stands in for the AWS services that the connector uses,
// for the local stack and for tests: one handler, one port, everything in
// memory. It speaks the services' own protocols, so that the AWS SDKs and the
// AWS CLI work with it.
//
// It checks no signature and knows one account, 000000000000, and one region,
// us-east-1. Serve it on loopback only.
//
// # DynamoDB
//
// Tables, items, conditions and transactions are those of
// github.com/truora/minidyn. Its indexes lose items, so that Query and Scan are
// done here, over its items: sparse indexes, projections, paging by key and by
// 1 MB, and filters after the limit. It does not remove attributes, so that a
// REMOVE clause is done here, too. Indexes are never behind. Transactions do not
// conflict. They wait for each other.
// Each copies its table first, so that tables of more than some thousands of
// items grow slow. A cancelled transaction names the first condition that failed,
// and no item. Expired items are never deleted. There are no streams, backups, PartiQL or
// capacity.
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
// redrive to a dead-letter queue. Messages stay in order, which SQS does not promise,
// and a message comes once for each time it becomes visible, where SQS may
// deliver it twice. There are no FIFO queues and no message attributes.
//
// # EventBridge
//
// PutEvents stores the last 1,000 events of buses that exist. There are no rules.
//
// # STS
//
// GetCallerIdentity alone.
package awslocal
