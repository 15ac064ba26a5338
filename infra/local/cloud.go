package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventbridgetypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/config"
)

// setupTimeout limits the creation of the table, the bus and the queues.
const setupTimeout = time.Minute

// cloud is the AWS that the functions use, embedded or not.
type cloud struct {
	config aws.Config
	queue  *sqs.Client
}

func newCloud(s settings, endpoint string) cloud {
	c := aws.Config{
		Region:       s.region,
		BaseEndpoint: &endpoint,
		Credentials:  credentials.NewStaticCredentialsProvider(s.key.id, s.key.secret, s.key.session),
	}
	return cloud{config: c, queue: sqs.NewFromConfig(c)}
}

// prepare creates the table, the bus and the queue if they do not exist, and
// returns the queue's URL and ARN.
func (c cloud) prepare(ctx context.Context, s settings, queue blueprint.Queue) (url, arn string, err error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if err := c.createTable(ctx, s.values[config.TableName]); err != nil {
		return "", "", err
	}
	if err := c.createBus(ctx, s.values[config.EventBusName]); err != nil {
		return "", "", err
	}
	if url = s.values[config.RefreshQueueURL]; url == "" {
		if url, err = c.createQueue(ctx, "platform-connector-"+queue.Name, queue); err != nil {
			return "", "", err
		}
	}
	arn, err = c.queueARN(ctx, url)
	return url, arn, err
}

func (c cloud) createTable(ctx context.Context, name string) error {
	var exists *dynamodbtypes.ResourceInUseException
	if err := awscloud.CreateTable(ctx, dynamodb.NewFromConfig(c.config), name); err != nil && !errors.As(err, &exists) {
		return err
	}
	return nil
}

func (c cloud) createBus(ctx context.Context, name string) error {
	var exists *eventbridgetypes.ResourceAlreadyExistsException
	_, err := eventbridge.NewFromConfig(c.config).CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: &name})
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("creating the event bus: %w", err)
	}
	return nil
}

// createQueue creates the queue and its dead-letter queue.
func (c cloud) createQueue(ctx context.Context, name string, queue blueprint.Queue) (url string, err error) {
	dead, err := c.findOrCreate(ctx, name+"-dead", nil)
	if err != nil {
		return "", err
	}
	deadARN, err := c.queueARN(ctx, dead)
	if err != nil {
		return "", err
	}
	redrive, _ := json.Marshal(map[string]any{"deadLetterTargetArn": deadARN, "maxReceiveCount": queue.MaxReceive})
	return c.findOrCreate(ctx, name, map[string]string{
		"VisibilityTimeout":      seconds(queue.Visibility),
		"MessageRetentionPeriod": seconds(queue.Retention),
		"RedrivePolicy":          string(redrive),
	})
}

func (c cloud) findOrCreate(ctx context.Context, name string, attributes map[string]string) (url string, err error) {
	found, err := c.queue.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err == nil {
		return aws.ToString(found.QueueUrl), nil
	}
	var missing *sqstypes.QueueDoesNotExist
	if !errors.As(err, &missing) {
		return "", fmt.Errorf("looking for the queue %s: %w", name, err)
	}
	made, err := c.queue.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		return "", fmt.Errorf("creating the queue %s: %w", name, err)
	}
	return aws.ToString(made.QueueUrl), nil
}

func (c cloud) queueARN(ctx context.Context, url string) (string, error) {
	out, err := c.queue.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn},
	})
	if err != nil {
		return "", fmt.Errorf("asking for the ARN of a queue: %w", err)
	}
	return out.Attributes["QueueArn"], nil
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
