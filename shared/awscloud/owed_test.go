package awscloud_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"platform-api-connector/infra/local/awslocal"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
)

// sweepEvents runs a sweep, and the worker on the events that it queued.
func (d *deployment) sweepEvents(t *testing.T) (results []connector.DueResult) {
	t.Helper()
	if _, err := d.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range d.Queue.(*connectortest.Queue).Drain() {
		if key.Kind != connector.EventKind {
			continue
		}
		result, err := d.HandleDue(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	return results
}

// A connection is purged while EventBridge refuses the entry of its event. The event is
// in the table, and reaches the bus once EventBridge accepts it.
func TestOwedEvents(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	client := eventbridge.NewFromConfig(d.cfg)
	d.Events = awscloud.NewEvents(client, "made-later")
	i := slices.IndexFunc(d.landed.Connections, func(c landedConnection) bool { return c.Record.Status == connector.Active })
	before, err := d.Store.Connection(t.Context(), d.landed.Connections[i].ConnectionID)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Disconnect(t.Context(), before.ID, true); err != nil {
		t.Fatal(err)
	}
	happened := d.clock.Now()
	d.clock.Advance(5 * time.Minute)
	if got := d.sweepEvents(t); !slices.Equal(got, []connector.DueResult{connector.Refused}) {
		t.Errorf("while the bus refuses: %v", got)
	}
	if events := d.aws.Events(); len(events) > 0 {
		t.Fatalf("the bus has %+v", events)
	}
	if _, err := client.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("made-later")}); err != nil {
		t.Fatal(err)
	}
	d.clock.Advance(20 * time.Minute)
	if got := d.sweepEvents(t); !slices.Equal(got, []connector.DueResult{connector.Sent}) {
		t.Errorf("once the bus accepts: %v", got)
	}
	events := d.aws.Events()
	if len(events) != 1 {
		t.Fatalf("the bus has %+v, want one event", events)
	}
	checkOwed(t, events[0], before, happened)
	d.clock.Advance(2 * time.Hour)
	if got := d.sweepEvents(t); len(got) > 0 {
		t.Errorf("afterwards: %v", got)
	}
}

// checkOwed wants the whole event of the disconnection of a connection.
func checkOwed(t *testing.T, e awslocal.Event, before connector.Connection, happened time.Time) {
	t.Helper()
	var detail struct {
		EventID      connector.ID `json:"event_id"`
		ConnectionID connector.ID `json:"connection_id"`
		Owner        string
		Platform     connector.Name
		AccountID    string `json:"account_id"`
		Status       connector.Status
		Revision     int64
		OccurredAt   time.Time `json:"occurred_at"`
	}
	if err := json.Unmarshal(e.Detail, &detail); err != nil {
		t.Fatal(err)
	}
	if e.DetailType != string(connector.EventDisconnected) || !detail.EventID.Valid() || detail.ConnectionID != before.ID ||
		detail.Owner != before.Owner || detail.Platform != before.Platform || detail.AccountID != before.AccountID || detail.Status != connector.Disconnected {
		t.Errorf("the event is %s %s", e.DetailType, e.Detail)
	}
	if detail.Revision != before.Revision+1 || detail.OccurredAt.After(happened) || happened.Sub(detail.OccurredAt) > time.Minute || !e.Time.Equal(detail.OccurredAt) {
		t.Errorf("revision %d, at %v and %v, want %d at about %v", detail.Revision, detail.OccurredAt, e.Time, before.Revision+1, happened)
	}
}
