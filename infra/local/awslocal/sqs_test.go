package awslocal_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// queue is a queue and its client.
type queue struct {
	*testing.T
	client *sqs.Client
	url    *string
}

func newQueue(t *testing.T, c *cloud, name string, attributes map[string]string) queue {
	t.Helper()
	client := sqs.NewFromConfig(c.Config)
	out := must[*sqs.CreateQueueOutput](t)(client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes}))
	return queue{t, client, out.QueueUrl}
}

func (q queue) send(body string) {
	q.Helper()
	if _, err := q.client.SendMessage(q.Context(), &sqs.SendMessageInput{QueueUrl: q.url, MessageBody: &body}); err != nil {
		q.Fatal(err)
	}
}

func (q queue) receive(waitSeconds int32) []types.Message {
	q.Helper()
	return must[*sqs.ReceiveMessageOutput](q.T)(q.client.ReceiveMessage(q.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: q.url, MaxNumberOfMessages: 10, WaitTimeSeconds: waitSeconds,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
	})).Messages
}

func (q queue) wantReceived(when string, want ...string) []types.Message {
	q.Helper()
	messages := q.receive(0)
	var got []string
	for _, m := range messages {
		got = append(got, *m.Body)
	}
	if len(got) != len(want) {
		q.Fatalf("%s: received %q, want %q", when, got, want)
	}
	for n := range got {
		if got[n] != want[n] {
			q.Fatalf("%s: received %q, want %q", when, got, want)
		}
	}
	return messages
}

func (q queue) remove(receipt *string) {
	q.Helper()
	if _, err := q.client.DeleteMessage(q.Context(), &sqs.DeleteMessageInput{QueueUrl: q.url, ReceiptHandle: receipt}); err != nil {
		q.Fatal(err)
	}
}

func TestSQS_VisibilityTimeout(t *testing.T) {
	c := newCloud(t)
	q := newQueue(t, c, "refresh", map[string]string{"VisibilityTimeout": "60"})
	q.send("a")
	q.send("b")
	first := q.wantReceived("at once", "a", "b")
	q.wantReceived("while they are in flight")
	q.remove(first[1].ReceiptHandle)

	c.Advance(59 * time.Second)
	q.wantReceived("just before the timeout")
	c.Advance(time.Second)
	second := q.wantReceived("after the timeout", "a")
	if count := second[0].Attributes["ApproximateReceiveCount"]; count != "2" {
		t.Errorf("ApproximateReceiveCount %s, want 2", count)
	}

	q.remove(first[0].ReceiptHandle)
	if _, err := q.client.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: q.url, ReceiptHandle: second[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	third := q.wantReceived("after a deletion by the old receipt, and made visible", "a")
	q.remove(third[0].ReceiptHandle)
	c.Advance(time.Hour)
	q.wantReceived("after its deletion")
}

func TestSQS_Redrive(t *testing.T) {
	c := newCloud(t)
	dead := newQueue(t, c, "dead", nil)
	q := newQueue(t, c, "refresh", map[string]string{
		"VisibilityTimeout": "60",
		"RedrivePolicy":     `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":3}`,
	})
	q.send("poison")
	for range 3 {
		q.wantReceived("up to 3 times", "poison")
		c.Advance(time.Minute)
	}
	dead.wantReceived("before the fourth attempt")
	q.wantReceived("at the fourth attempt")
	dead.wantReceived("after it", "poison")
}

func TestSQS_DelayAndRetention(t *testing.T) {
	c := newCloud(t)
	q := newQueue(t, c, "refresh", map[string]string{"DelaySeconds": "5", "MessageRetentionPeriod": "60"})
	q.send("a")
	q.wantReceived("at once")
	c.Advance(5 * time.Second)
	q.wantReceived("after the delay", "a")
	c.Advance(61 * time.Second)
	q.wantReceived("after the retention period")
}

// A long poll that does not wake takes 20 seconds.
func TestSQS_LongPoll(t *testing.T) {
	c := newCloud(t)
	q := newQueue(t, c, "refresh", nil)
	received := make(chan []types.Message)
	go func() { received <- q.receive(20) }()
	q.send("a")
	select {
	case messages := <-received:
		if len(messages) != 1 {
			t.Errorf("received %d messages, want 1", len(messages))
		}
	case <-time.After(10 * time.Second):
		t.Error("the long poll did not wake")
	}
}

func TestSQS_Batches(t *testing.T) {
	q := newQueue(t, newCloud(t), "refresh", map[string]string{"MaximumMessageSize": "1024"})
	entry := func(id, body string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body}
	}
	send := func(entries ...types.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
		return q.client.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: q.url, Entries: entries})
	}
	out, err := send(entry("small", "a"), entry("large", string(make([]byte, 1025))))
	if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "large" {
		t.Errorf("a batch with one that is too large: %+v, %v, want that one alone to fail", out, err)
	}
	_, err = send(entry("a", "1"), entry("a", "2"))
	wantCode(t, "a repeated id", err, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
	var eleven []types.SendMessageBatchRequestEntry
	for n := range 11 {
		eleven = append(eleven, entry(string(rune('a'+n)), "x"))
	}
	_, err = send(eleven...)
	wantCode(t, "eleven entries", err, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")

	messages := q.wantReceived("of the batches", "a")
	removed, err := q.client.DeleteMessageBatch(t.Context(), &sqs.DeleteMessageBatchInput{QueueUrl: q.url, Entries: []types.DeleteMessageBatchRequestEntry{
		{Id: aws.String("good"), ReceiptHandle: messages[0].ReceiptHandle},
		{Id: aws.String("bad"), ReceiptHandle: aws.String("not a receipt")},
	}})
	if err != nil || len(removed.Successful) != 1 || len(removed.Failed) != 1 || *removed.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("DeleteMessageBatch: %+v, %v, want one done and one with a bad receipt", removed, err)
	}
}

func TestSQS_Queues(t *testing.T) {
	c := newCloud(t)
	q := newQueue(t, c, "refresh", map[string]string{"VisibilityTimeout": "60"})
	if again := newQueue(t, c, "refresh", map[string]string{"VisibilityTimeout": "60"}); *again.url != *q.url {
		t.Errorf("creating it again: %s, want %s", *again.url, *q.url)
	}
	_, err := q.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String("refresh"), Attributes: map[string]string{"VisibilityTimeout": "61"}})
	wantCode(t, "creating it with another timeout", err, "QueueAlreadyExists")
	_, err = q.client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("nope")})
	wantCode(t, "an unknown queue", err, "AWS.SimpleQueueService.NonExistentQueue")

	q.send("a")
	q.send("b")
	q.receive(0)
	q.send("c")
	attributes := must[*sqs.GetQueueAttributesOutput](t)(q.client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
		QueueUrl: q.url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})).Attributes
	for name, want := range map[string]string{
		"ApproximateNumberOfMessages": "1", "ApproximateNumberOfMessagesNotVisible": "2",
		"VisibilityTimeout": "60", "QueueArn": "arn:aws:sqs:us-east-1:000000000000:refresh",
	} {
		if attributes[name] != want {
			t.Errorf("%s = %q, want %q", name, attributes[name], want)
		}
	}
	if _, err := q.client.PurgeQueue(t.Context(), &sqs.PurgeQueueInput{QueueUrl: q.url}); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	q.wantReceived("after the purge")
}
