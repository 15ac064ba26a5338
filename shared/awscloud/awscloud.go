// Package awscloud implements the connector's ports on AWS. The store is one
// DynamoDB table. The credentials and the apps are in Secrets Manager, and what
// the credential store seals is encrypted by AES-256-GCM under a key in Secrets
// Manager. The queue is SQS, and events go to EventBridge.
//
// Its errors are connector.ErrNotFound, connector.ErrConflict, an
// InvalidRequest for a malformed cursor, and otherwise errors of the SDK,
// wrapped. Only the SDK retries.
package awscloud

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/credentialstore"
)

// Ports are the connector's ports on AWS.
type Ports struct {
	Store           *Table
	Apps            *credentialstore.Apps
	CredentialStore *credentialstore.Secrets
	Queue           *Queue
	Events          *Events
}

// New returns the ports of the deployment that c names. o is for its credential
// store. The SDK itself reads AWS_ENDPOINT_URL, where a was loaded from the
// environment.
func New(a aws.Config, c config.Config, o credentialstore.Options) Ports {
	secrets := secretsmanager.NewFromConfig(a)
	vault := NewVault(secrets, c.SecretPrefix, c.SecretKMSKeyID)
	sealer := NewSealer(secrets, c.SecretPrefix, c.SecretKMSKeyID)
	return Ports{
		Store:           NewTable(dynamodb.NewFromConfig(a, RetryContention), c.TableName),
		Apps:            credentialstore.NewApps(vault),
		CredentialStore: credentialstore.NewSecrets(vault, sealer, o),
		Queue:           NewQueue(sqs.NewFromConfig(a), c.RefreshQueueURL),
		Events:          NewEvents(eventbridge.NewFromConfig(a), c.EventBusName),
	}
}
