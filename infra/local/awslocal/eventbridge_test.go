package awslocal_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

func TestEventBridge_PutEvents(t *testing.T) {
	c := newCloud(t)
	client := eventbridge.NewFromConfig(c.Config)
	if _, err := client.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("connector")}); err != nil {
		t.Fatal(err)
	}
	entry := func(bus, detail string) types.PutEventsRequestEntry {
		return types.PutEventsRequestEntry{EventBusName: &bus, Source: aws.String("test"), DetailType: aws.String("Test"), Detail: &detail}
	}
	out := must[*eventbridge.PutEventsOutput](t)(client.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{
		entry("connector", `{"n":0}`), entry("connector", `{"n":`), entry("nope", `{}`), entry("", `{"n":1}`),
	}}))
	if out.FailedEntryCount != 2 || out.Entries[1].ErrorCode == nil || out.Entries[2].ErrorCode == nil {
		t.Errorf("PutEvents: %+v, want the malformed detail and the unknown bus to fail", out)
	}
	events := c.Events()
	if len(events) != 2 || events[0].Bus != "connector" || string(events[0].Detail) != `{"n":0}` || events[1].Bus != "default" {
		t.Errorf("Events: %+v, want the two valid ones", events)
	}
	if len(c.received) != 2 || c.received[1].ID != *out.Entries[3].EventId {
		t.Errorf("OnEvent received %+v, want the two valid ones", c.received)
	}
	_, err := client.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("connector")})
	wantCode(t, "creating the bus again", err, "ResourceAlreadyExistsException")
}

func TestEventBridge_Limit(t *testing.T) {
	c := newCloud(t)
	client := eventbridge.NewFromConfig(c.Config)
	for n := range 101 {
		var entries []types.PutEventsRequestEntry
		for m := range 10 {
			entries = append(entries, types.PutEventsRequestEntry{
				Source: aws.String("test"), DetailType: aws.String("Test"), Detail: aws.String(fmt.Sprintf(`{"n":%d}`, 10*n+m)),
			})
		}
		if _, err := client.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: entries}); err != nil {
			t.Fatal(err)
		}
	}
	events := c.Events()
	if len(events) != 1000 || string(events[0].Detail) != `{"n":10}` || string(events[999].Detail) != `{"n":1009}` {
		t.Errorf("%d events, from %s, want the last 1,000", len(events), events[0].Detail)
	}
}
