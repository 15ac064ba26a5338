// Package awscloud is the AWS half of the connector's ports: the store is one
// DynamoDB table, the vault is Secrets Manager, the sealer is AES-256-GCM under
// a key in Secrets Manager, the queue is SQS, and events go to EventBridge.
//
// Its errors are connector.ErrNotFound, connector.ErrConflict, an
// InvalidRequest for a malformed cursor, and else what the SDK said, wrapped.
// Retries are the SDK's.
package awscloud

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"platform-api-connector/shared/config"
)

// New returns the ports of the deployment that c names. The SDK itself
// honours AWS_ENDPOINT_URL, where a was loaded from the environment.
func New(a aws.Config, c config.Config) (*Table, *Vault, *Sealer, *Queue, *Events) {
	secrets := secretsmanager.NewFromConfig(a)
	return NewTable(dynamodb.NewFromConfig(a, RetryContention), c.TableName),
		NewVault(secrets, c.SecretPrefix, c.SecretKMSKeyID),
		NewSealer(secrets, c.SecretPrefix, c.SecretKMSKeyID),
		NewQueue(sqs.NewFromConfig(a), c.RefreshQueueURL),
		NewEvents(eventbridge.NewFromConfig(a), c.EventBusName)
}
