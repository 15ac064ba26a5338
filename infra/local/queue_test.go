package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"
)

func TestPoller_Event(t *testing.T) {
	t.Parallel()
	t.Run("event_of_lambda", func(t *testing.T) {
		t.Parallel()
		p := &poller{arn: "arn:aws:sqs:us-east-1:000000000000:refresh", region: "us-east-1"}
		b, err := json.Marshal(p.event([]types.Message{{
			MessageId: aws.String("m1"), ReceiptHandle: aws.String("r1"), Body: aws.String("{}"), MD5OfBody: aws.String("sum"),
			Attributes: map[string]string{"ApproximateReceiveCount": "1"},
		}}))
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"Records":[{"messageId":"m1","receiptHandle":"r1","body":"{}","md5OfBody":"sum","md5OfMessageAttributes":"",` +
			`"attributes":{"ApproximateReceiveCount":"1"},"messageAttributes":{},"eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:refresh",` +
			`"eventSource":"aws:sqs","awsRegion":"us-east-1"}]}`
		if diff := cmp.Diff(want, string(b)); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	})
}

func TestSucceeded(t *testing.T) {
	t.Parallel()
	batch := []types.Message{{MessageId: aws.String("a")}, {MessageId: aws.String("b")}, {MessageId: aws.String("c")}}
	for name, c := range map[string]struct {
		r    result
		want []string
	}{
		"no report":            {result{payload: []byte(`null`)}, []string{"a", "b", "c"}},
		"empty report":         {result{payload: []byte(`{"batchItemFailures":[]}`)}, []string{"a", "b", "c"}},
		"one failed":           {result{payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"b"}]}`)}, []string{"a", "c"}},
		"unknown id failed":    {result{payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"z"}]}`)}, nil},
		"empty id failed":      {result{payload: []byte(`{"batchItemFailures":[{"itemIdentifier":""}]}`)}, nil},
		"the function failed":  {result{payload: []byte(`{"errorType":"x"}`), functionError: "Unhandled"}, nil},
		"named twice, one row": {result{payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}]}`)}, []string{"a", "c"}},
	} {
		var got []string
		for _, m := range succeeded(batch, c.r) {
			got = append(got, *m.MessageId)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestScheduledEvent(t *testing.T) {
	t.Parallel()
	t.Run("event_of_scheduler", func(t *testing.T) {
		t.Parallel()
		var got map[string]any
		if err := json.Unmarshal(scheduledEvent("refresh", noon.In(time.FixedZone("", 3600))), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "id")
		want := map[string]any{
			"version": "0", "detail-type": "Scheduled Event", "source": "aws.scheduler", "account": account,
			"time": "2026-11-23T12:00:00Z", "region": "us-east-1", "detail": "{}",
			"resources": []any{"arn:aws:scheduler:us-east-1:000000000000:schedule/default/refresh"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	})
}
