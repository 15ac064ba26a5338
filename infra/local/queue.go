package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"platform-api-connector/infra/blueprint"
)

// poller replaces the event source mapping between the queue and its function.
// It receives batches, invokes the function, and deletes the messages that
// succeeded. SQS delivers the others again after the visibility timeout.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
type poller struct {
	queue    blueprint.Queue
	client   *sqs.Client
	url, arn string
	region   string
	invoke   invoker
	terminal *terminal
}

// run polls until ctx ends.
func (p *poller) run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		err := p.poll(ctx)
		if err == nil || ctx.Err() != nil {
			pause = 0
			continue
		}
		p.terminal.notify("the queue %s cannot be polled: %v", p.queue.Name, err)
		pause = min(30*time.Second, 2*pause+time.Second)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (p *poller) poll(ctx context.Context) error {
	received, err := p.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:                    &p.url,
		MaxNumberOfMessages:         int32(min(p.queue.BatchSize, 10)),
		VisibilityTimeout:           int32(p.queue.Visibility / time.Second),
		WaitTimeSeconds:             20,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	if len(received.Messages) == 0 {
		return nil
	}
	payload, err := json.Marshal(p.event(received.Messages))
	if err != nil {
		return fmt.Errorf("encoding a batch: %w", err)
	}
	begun := time.Now()
	result, err := p.invoke(ctx, p.queue.Function, payload)
	if err != nil {
		return fmt.Errorf("invoking %s: %w", p.queue.Function, err)
	}
	done := succeeded(received.Messages, result)
	p.terminal.invoked("queue "+p.queue.Name, p.queue.Function, result, time.Since(begun),
		fmt.Sprintf("%d of %d done", len(done), len(received.Messages)))
	return p.delete(ctx, done)
}

// event returns the event that Lambda sends to a function for a batch.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
func (p *poller) event(messages []types.Message) events.SQSEvent {
	var event events.SQSEvent
	for _, m := range messages {
		event.Records = append(event.Records, events.SQSMessage{
			MessageId:         aws.ToString(m.MessageId),
			ReceiptHandle:     aws.ToString(m.ReceiptHandle),
			Body:              aws.ToString(m.Body),
			Md5OfBody:         aws.ToString(m.MD5OfBody),
			Attributes:        m.Attributes,
			MessageAttributes: map[string]events.SQSMessageAttribute{},
			EventSource:       "aws:sqs",
			EventSourceARN:    p.arn,
			AWSRegion:         p.region,
		})
	}
	return event
}

// succeeded returns the messages that the function processed. It returns none
// if the function failed, or if its report names a message that is not in the
// batch.
func succeeded(messages []types.Message, r result) []types.Message {
	if r.functionError != "" {
		return nil
	}
	var report events.SQSEventResponse
	if json.Unmarshal(r.payload, &report) != nil {
		return messages
	}
	failed := map[string]bool{}
	for _, failure := range report.BatchItemFailures {
		failed[failure.ItemIdentifier] = true
	}
	left := slices.DeleteFunc(slices.Clone(messages), func(m types.Message) bool { return failed[aws.ToString(m.MessageId)] })
	if len(messages)-len(left) != len(failed) {
		return nil
	}
	return left
}

func (p *poller) delete(ctx context.Context, messages []types.Message) error {
	if len(messages) == 0 {
		return nil
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: m.ReceiptHandle}
	}
	out, err := p.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &p.url, Entries: entries})
	if err != nil {
		return fmt.Errorf("deleting processed messages: %w", err)
	}
	if len(out.Failed) > 0 {
		return fmt.Errorf("deleting processed messages: %d were refused", len(out.Failed))
	}
	return nil
}
