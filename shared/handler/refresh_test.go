package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// batch returns an event of the refresh queue with one message for each body. The
// message ids are "0", "1", ….
func batch(t *testing.T, bodies ...string) string {
	t.Helper()
	var e events.SQSEvent
	for i, body := range bodies {
		e.Records = append(e.Records, events.SQSMessage{
			MessageId: fmt.Sprint(i), Body: body, EventSource: "aws:sqs",
			EventSourceARN: "arn:aws:sqs:eu-west-1:123456789012:refresh", AWSRegion: "eu-west-1",
		})
	}
	return string(encode(t, e))
}

// deliveredAgain returns the message ids in the answer of a worker.
func deliveredAgain(t *testing.T, result []byte) []string {
	t.Helper()
	var answer struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(result, &answer); err != nil || answer.BatchItemFailures == nil {
		t.Fatalf("answer %s: %v", result, err)
	}
	ids := []string{}
	for _, f := range answer.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

// message returns a message of the previous release.
func message(id string) string { return `{"connection_id":"` + id + `"}` }

// messageOf returns the message of a due item.
func messageOf(due connector.RecordKey) string {
	return `{"kind":"` + string(due.Kind) + `","id":"` + due.ID + `","connection_id":"` + due.ID + `"}`
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	t.Run("from_schedule_to_worker", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		var want []string
		for _, name := range []string{"youtube", "twitter", "tiktok"} {
			want = append(want, s.connect(t, name, "acme", sandbox.Choice{})...)
		}
		s.clock.Advance(115 * time.Minute)
		swept, failure := s.invoke(t, "refresh", `{"version":"0","source":"aws.scheduler","detail-type":"Scheduled Event","detail":"{}"}`)
		if failure != nil || swept["queued"] != 3.0 || swept["complete"] != true {
			t.Fatalf("sweep: %v, %v", swept, failure)
		}
		var bodies []string
		for _, due := range s.queue.Drain() {
			bodies = append(bodies, messageOf(due))
		}
		result, err := s.functions["refresh-worker"](invocation(t.Context()), []byte(batch(t, bodies...)))
		if err != nil {
			t.Fatal(err)
		}
		if again := deliveredAgain(t, result); len(again) != 0 {
			t.Errorf("delivered again: %v", again)
		}
		for _, id := range want {
			var connection struct {
				LastRefreshedAt time.Time `json:"last_refreshed_at"`
			}
			s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &connection)
			if connection.LastRefreshedAt.Before(noon.Add(115 * time.Minute)) {
				t.Errorf("%s was last refreshed at %v", id, connection.LastRefreshedAt)
			}
		}
	})
}

func TestRefreshWorker(t *testing.T) {
	t.Parallel()
	t.Run("malformed_message_is_dropped_and_logged", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		result, err := s.functions["refresh-worker"](invocation(t.Context()), []byte(batch(t,
			`not JSON`, `{}`, `{"connection_id":7}`, message("x"), message(unknownID))))
		if err != nil {
			t.Fatal(err)
		}
		if again := deliveredAgain(t, result); len(again) != 0 {
			t.Errorf("delivered again: %v", again)
		}
		outcomes := map[any]int{}
		for _, line := range s.logs.lines(t) {
			if line["route"] == "message" {
				outcomes[line["outcome"]]++
				if line["function"] != "refresh-worker" || line["request_id"] != requestID || line["outcome"] == "ok" && line["connection_id"] != unknownID {
					t.Errorf("line %v", line)
				}
			}
		}
		if outcomes["InvalidRequest"] != 4 || outcomes["ok"] != 1 {
			t.Errorf("outcomes %v", outcomes)
		}
	})
	t.Run("reports_partial_failures", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		ids := make([]string, 9)
		for i := range ids {
			ids[i] = fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)
		}
		s.service.Store = failing{Store: s.service.Store, broken: connector.ID(ids[2]), panics: connector.ID(ids[5])}
		var bodies []string
		for _, id := range ids {
			bodies = append(bodies, message(id))
		}
		result, err := s.functions["refresh-worker"](invocation(t.Context()), []byte(batch(t, bodies...)))
		if err != nil {
			t.Fatal(err)
		}
		if again := deliveredAgain(t, result); !slices.Equal(again, []string{"2", "5"}) {
			t.Errorf("delivered again: %v, want 2 and 5", again)
		}
	})
	t.Run("starts_no_refresh_when_time_is_short", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Store = nil // any use panics
		ctx, cancel := context.WithTimeout(invocation(t.Context()), 10*time.Second)
		defer cancel()
		result, err := s.functions["refresh-worker"](ctx, []byte(batch(t, message(unknownID), message(unknownID))))
		if err != nil {
			t.Fatal(err)
		}
		if again := deliveredAgain(t, result); !slices.Equal(again, []string{"0", "1"}) {
			t.Errorf("delivered again: %v", again)
		}
		for _, line := range s.logs.lines(t) {
			if line["msg"] == "panic" {
				t.Errorf("a refresh was begun: %v", line)
			}
		}
	})
}

// failing is a store in which the read of one connection fails, and the read of
// another one panics.
type failing struct {
	connector.Store
	broken, panics connector.ID
}

func (f failing) Connection(ctx context.Context, id connector.ID) (connector.Connection, error) {
	switch id {
	case f.broken:
		return connector.Connection{}, context.DeadlineExceeded
	case f.panics:
		panic(explosive)
	}
	return f.Store.Connection(ctx, id)
}
