package connectortest

import (
	"context"
	"slices"
	"sync"

	"platform-api-connector/shared/connector"
)

// Events is a connector.Events that remembers.
type Events struct {
	mu     sync.Mutex
	events []connector.Event
}

var _ connector.Events = (*Events)(nil)

// NewEvents returns Events that has seen none.
func NewEvents() *Events { return &Events{} }

// Publish implements connector.Events.
func (e *Events) Publish(_ context.Context, events ...connector.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range events {
		event.Connection = clone(event.Connection)
		e.events = append(e.events, event)
	}
	return nil
}

// All returns what was published, in order.
func (e *Events) All() []connector.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events)
}
