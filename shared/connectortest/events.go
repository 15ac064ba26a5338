package connectortest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"platform-api-connector/shared/connector"
)

// Events is a connector.Events that remembers.
type Events struct {
	mu      sync.Mutex
	events  []connector.Event
	refuses func(connector.Event) bool
}

var _ connector.Events = (*Events)(nil)

// NewEvents returns Events that has seen none.
func NewEvents() *Events { return &Events{} }

// Refuse makes the bus refuse the events for which refuses returns true, each on its
// own, as EventBridge does. A nil function refuses none.
func (e *Events) Refuse(refuses func(connector.Event) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuses = refuses
}

// Publish implements connector.Events.
func (e *Events) Publish(_ context.Context, events ...connector.Event) ([]connector.ID, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var accepted []connector.ID
	for _, event := range events {
		if e.refuses != nil && e.refuses(event) {
			continue
		}
		e.events = append(e.events, clone(event))
		accepted = append(accepted, event.ID)
	}
	if len(accepted) < len(events) {
		return accepted, errors.New("the bus refused an event")
	}
	return accepted, nil
}

// All returns what was published, in order.
func (e *Events) All() []connector.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events)
}
