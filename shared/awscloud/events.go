package awscloud

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"platform-api-connector/shared/connector"
)

// EventSource is the source of every event on the bus.
const EventSource = "platform-connector"

// Events is the connector.Events on an EventBridge bus.
type Events struct {
	client *eventbridge.Client
	bus    string
}

var _ connector.Events = (*Events)(nil)

// NewEvents returns the events of the bus of that name.
func NewEvents(client *eventbridge.Client, bus string) *Events {
	return &Events{client: client, bus: bus}
}

// detail is the detail of an event on the bus.
type detail struct {
	EventID      connector.ID     `json:"event_id"`
	ConnectionID connector.ID     `json:"connection_id"`
	Owner        string           `json:"owner"`
	Platform     connector.Name   `json:"platform"`
	AccountID    string           `json:"account_id"`
	Status       connector.Status `json:"status"`
	Reason       string           `json:"reason,omitempty"`
	Revision     int64            `json:"revision"`
	OccurredAt   time.Time        `json:"occurred_at"`
}

// Publish implements connector.Events. It tries each batch, also after one that
// failed, as long as ctx lasts.
func (e *Events) Publish(ctx context.Context, events ...connector.Event) ([]connector.ID, error) {
	var accepted []connector.ID
	var problems []error
	for batch := range slices.Chunk(events, batchSize) {
		ids, err := e.put(ctx, batch)
		accepted = append(accepted, ids...)
		problems = append(problems, err)
	}
	return accepted, errors.Join(problems...)
}

// put sends one batch. EventBridge accepts or refuses each entry on its own, and answers
// in the order of the entries
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html, read
// 2026-11-25).
func (e *Events) put(ctx context.Context, events []connector.Event) ([]connector.ID, error) {
	input := &eventbridge.PutEventsInput{}
	for _, event := range events {
		entry, err := e.entry(event)
		if err != nil {
			return nil, err
		}
		input.Entries = append(input.Entries, entry)
	}
	out, err := e.client.PutEvents(ctx, input)
	if err != nil {
		return nil, fmt.Errorf("publishing events: %w", err)
	}
	if len(out.Entries) != len(events) {
		return nil, fmt.Errorf("publishing events: %d results for %d entries", len(out.Entries), len(events))
	}
	var accepted []connector.ID
	var refused string
	for i, entry := range out.Entries {
		if aws.ToString(entry.EventId) != "" && aws.ToString(entry.ErrorCode) == "" {
			accepted = append(accepted, events[i].ID)
		} else if refused == "" {
			refused = cmp.Or(aws.ToString(entry.ErrorCode), "no event id")
		}
	}
	if len(accepted) < len(events) {
		return accepted, fmt.Errorf("publishing events: %d of %d refused, the first with %s", len(events)-len(accepted), len(events), refused)
	}
	return accepted, nil
}

func (e *Events) entry(event connector.Event) (types.PutEventsRequestEntry, error) {
	b, err := json.Marshal(detail{
		EventID: event.ID, ConnectionID: event.ConnectionID, Owner: event.Owner, Platform: event.Platform,
		AccountID: event.AccountID, Status: event.Status, Reason: event.Reason,
		Revision: event.Revision, OccurredAt: event.OccurredAt,
	})
	if err != nil {
		return types.PutEventsRequestEntry{}, fmt.Errorf("encoding an event: %w", err)
	}
	return types.PutEventsRequestEntry{
		EventBusName: &e.bus,
		Source:       aws.String(EventSource),
		DetailType:   aws.String(string(event.Type)),
		Detail:       aws.String(string(b)),
		Time:         &event.OccurredAt,
	}, nil
}
