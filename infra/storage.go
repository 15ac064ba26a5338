package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
)

// addStorage adds the table, the queue with its dead-letter queue, and the
// bus. The functions create the secrets, under the prefix in their grants.
func (d *deployment) addStorage() {
	if d.settings.KeyARN != "" {
		d.key = awskms.Key_FromKeyArn(d.Stack, jsii.String("Key"), jsii.String(d.settings.KeyARN))
	}
	d.addTable()

	q := blueprint.RefreshQueue()
	deadLetters := d.addDeadLetters("RefreshDeadLetters", q.Name+"-dead-letters")
	d.queue = awssqs.NewQueue(d.Stack, jsii.String("RefreshQueue"), d.encrypted(&awssqs.QueueProps{
		QueueName:         jsii.String(d.settings.Name(q.Name)),
		VisibilityTimeout: seconds(q.Visibility),
		RetentionPeriod:   seconds(q.Retention),
		DeadLetterQueue:   &awssqs.DeadLetterQueue{Queue: deadLetters, MaxReceiveCount: jsii.Number(q.MaxReceive)},
		RemovalPolicy:     awscdk.RemovalPolicy_DESTROY,
	}))

	d.bus = awsevents.NewEventBus(d.Stack, jsii.String("Bus"), &awsevents.EventBusProps{
		EventBusName: jsii.String(d.settings.Name("events")),
		Description:  jsii.String("Events of connections; source platform-connector"),
	})
}

// addTable adds the table with the schema that the store requires.
func (d *deployment) addTable() {
	schema := awscloud.TableSchema()
	props := &awsdynamodb.TableProps{
		TableName:           jsii.String(d.settings.Name("table")),
		PartitionKey:        key(schema.PartitionKey),
		BillingMode:         awsdynamodb.BillingMode_PAY_PER_REQUEST,
		TimeToLiveAttribute: jsii.String(schema.TTLAttribute),
		PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{
			PointInTimeRecoveryEnabled: jsii.Bool(true),
		},
		DeletionProtection: jsii.Bool(d.settings.Prod()),
		RemovalPolicy:      d.retained(),
	}
	if d.key != nil {
		props.Encryption = awsdynamodb.TableEncryption_CUSTOMER_MANAGED
		props.EncryptionKey = d.key
	}
	d.table = awsdynamodb.NewTable(d.Stack, jsii.String("Table"), props)
	for _, index := range schema.Indexes {
		projection := awsdynamodb.ProjectionType_ALL
		if index.KeysOnly {
			projection = awsdynamodb.ProjectionType_KEYS_ONLY
		}
		d.table.AddGlobalSecondaryIndex(&awsdynamodb.GlobalSecondaryIndexProps{
			IndexName:      jsii.String(index.Name),
			PartitionKey:   key(index.PartitionKey),
			SortKey:        key(index.SortKey),
			ProjectionType: projection,
		})
	}
}

// key returns a key attribute. All key attributes are strings.
func key(name string) *awsdynamodb.Attribute {
	return &awsdynamodb.Attribute{Name: jsii.String(name), Type: awsdynamodb.AttributeType_STRING}
}

// addDeadLetters adds a dead-letter queue. It has the longest retention that
// SQS allows, because a person has to read its messages.
func (d *deployment) addDeadLetters(id, name string) awssqs.Queue {
	queue := awssqs.NewQueue(d.Stack, jsii.String(id), d.encrypted(&awssqs.QueueProps{
		QueueName:       jsii.String(d.settings.Name(name)),
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)),
		RemovalPolicy:   awscdk.RemovalPolicy_DESTROY,
	}))
	d.deadLetters = append(d.deadLetters, queue)
	return queue
}

func (d *deployment) encrypted(props *awssqs.QueueProps) *awssqs.QueueProps {
	props.EnforceSSL = jsii.Bool(true)
	props.Encryption = awssqs.QueueEncryption_SQS_MANAGED
	if d.key != nil {
		props.Encryption = awssqs.QueueEncryption_KMS
		props.EncryptionMasterKey = d.key
	}
	return props
}
