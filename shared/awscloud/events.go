package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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

type detail struct {
	ConnectionID connector.ID     `json:"connection_id"`
	Owner        string           `json:"owner"`
	Platform     connector.Name   `json:"platform"`
	AccountID    string           `json:"account_id"`
	Status       connector.Status `json:"status"`
	Reason       string           `json:"reason,omitempty"`
}

// Publish implements connector.Events. It tries each batch, also after one that
// failed.
func (e *Events) Publish(ctx context.Context, events ...connector.Event) error {
	var problems []error
	for batch := range slices.Chunk(events, batchSize) {
		if err := e.put(ctx, batch); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (e *Events) put(ctx context.Context, events []connector.Event) error {
	input := &eventbridge.PutEventsInput{}
	for _, event := range events {
		entry, err := e.entry(event)
		if err != nil {
			return err
		}
		input.Entries = append(input.Entries, entry)
	}
	out, err := e.client.PutEvents(ctx, input)
	if err != nil {
		return fmt.Errorf("publishing events: %w", err)
	}
	for _, entry := range out.Entries {
		if code := aws.ToString(entry.ErrorCode); code != "" {
			return fmt.Errorf("publishing events: %d of %d refused, the first with %s", out.FailedEntryCount, len(events), code)
		}
	}
	return nil
}

func (e *Events) entry(event connector.Event) (types.PutEventsRequestEntry, error) {
	c := event.Connection
	b, err := json.Marshal(detail{
		ConnectionID: c.ID, Owner: c.Owner, Platform: c.Platform,
		AccountID: c.AccountID, Status: c.Status, Reason: event.Reason,
	})
	if err != nil {
		return types.PutEventsRequestEntry{}, fmt.Errorf("encoding an event: %w", err)
	}
	return types.PutEventsRequestEntry{
		EventBusName: &e.bus,
		Source:       aws.String(EventSource),
		DetailType:   aws.String(string(event.Type)),
		Detail:       aws.String(string(b)),
	}, nil
}
