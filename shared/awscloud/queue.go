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

// Queue is the connector.Queue on SQS: one message a connection, its body
// {"connection_id":…}.
type Queue struct {
	client *sqs.Client
	url    string
}

var _ connector.Queue = (*Queue)(nil)

// NewQueue returns the queue at that URL.
func NewQueue(client *sqs.Client, url string) *Queue { return &Queue{client: client, url: url} }

// longestDelay is the most that SQS lets a message wait.
const longestDelay = 15 * time.Minute

// batchSize is the most that SQS and EventBridge take in one call.
const batchSize = 10

// Enqueue implements connector.Queue. A batch that fails does not keep the
// next ones from being tried.
func (q *Queue) Enqueue(ctx context.Context, ids []connector.ID, after time.Duration) (failed []connector.ID, err error) {
	var problems []error
	for batch := range slices.Chunk(ids, batchSize) {
		refused, err := q.send(ctx, batch, after)
		failed = append(failed, refused...)
		if err != nil {
			problems = append(problems, err)
		}
	}
	return failed, errors.Join(problems...)
}

func (q *Queue) send(ctx context.Context, ids []connector.ID, after time.Duration) ([]connector.ID, error) {
	input := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
	for n, id := range ids {
		body, err := json.Marshal(map[string]connector.ID{"connection_id": id})
		if err != nil {
			return ids, fmt.Errorf("encoding a message: %w", err)
		}
		input.Entries = append(input.Entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(n)), MessageBody: aws.String(string(body)),
			DelaySeconds: int32(min(after, longestDelay) / time.Second), // #nosec G115 -- at most 900
		})
	}
	out, err := q.client.SendMessageBatch(ctx, input)
	if err != nil {
		return ids, fmt.Errorf("queueing connections: %w", err)
	}
	var refused []connector.ID
	for _, entry := range out.Failed {
		n, err := strconv.Atoi(aws.ToString(entry.Id))
		if err != nil || n < 0 || n >= len(ids) {
			return ids, errors.New("queueing connections: the answer names a message that was not sent")
		}
		refused = append(refused, ids[n])
	}
	return refused, nil
}
