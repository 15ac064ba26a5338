package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"platform-api-connector/shared/connector"
)

// Queue is the connector.Queue on SQS, with one message an item.
type Queue struct {
	client *sqs.Client
	url    string
}

// message is the body of a message. The worker of the previous release reads
// ConnectionID alone, whatever the kind.
type message struct {
	Kind         connector.Kind `json:"kind"`
	ID           string         `json:"id"`
	ConnectionID string         `json:"connection_id"`
}

var _ connector.Queue = (*Queue)(nil)

// NewQueue returns the queue at that URL.
func NewQueue(client *sqs.Client, url string) *Queue { return &Queue{client: client, url: url} }

// maxDelay is the longest delay that SQS gives a message.
const maxDelay = 15 * time.Minute

// batchSize is how many entries SQS and EventBridge take in one call.
const batchSize = 10

// Enqueue implements connector.Queue. It tries each batch, also after one that
// failed. A batch whose answer was lost may be queued twice.
func (q *Queue) Enqueue(ctx context.Context, items []connector.RecordKey, after time.Duration) (failed []connector.RecordKey, err error) {
	var problems []error
	for batch := range slices.Chunk(items, batchSize) {
		refused, err := q.send(ctx, batch, after)
		failed = append(failed, refused...)
		if err != nil {
			problems = append(problems, err)
		}
	}
	return failed, errors.Join(problems...)
}

func (q *Queue) send(ctx context.Context, items []connector.RecordKey, after time.Duration) ([]connector.RecordKey, error) {
	input := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
	for n, i := range items {
		body, err := json.Marshal(message{Kind: i.Kind, ID: i.ID, ConnectionID: i.ID})
		if err != nil {
			return items, fmt.Errorf("encoding a message: %w", err)
		}
		input.Entries = append(input.Entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(n)), MessageBody: aws.String(string(body)),
			DelaySeconds: int32(min(after, maxDelay) / time.Second), // #nosec G115 -- at most 900
		})
	}
	out, err := q.client.SendMessageBatch(ctx, input)
	if err != nil {
		return items, fmt.Errorf("queueing what is due: %w", err)
	}
	var refused []connector.RecordKey
	for _, entry := range out.Failed {
		n, err := strconv.Atoi(aws.ToString(entry.Id))
		if err != nil || n < 0 || n >= len(items) {
			return items, errors.New("queueing what is due: the answer names a message that was not sent")
		}
		refused = append(refused, items[n])
	}
	return refused, nil
}
