package connectortest

import (
	"context"
	"slices"
	"sync"

	"platform-api-connector/shared/connector"
)

// Queue is a connector.Queue in memory.
type Queue struct {
	mu  sync.Mutex
	ids []connector.ID
}

var _ connector.Queue = (*Queue)(nil)

// NewQueue returns an empty Queue.
func NewQueue() *Queue { return &Queue{} }

// Enqueue implements connector.Queue.
func (q *Queue) Enqueue(_ context.Context, ids []connector.ID) ([]connector.ID, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ids = append(q.ids, ids...)
	return nil, nil
}

// Drain returns what was added, in order, and empties the queue.
func (q *Queue) Drain() []connector.ID {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := q.ids
	q.ids = nil
	return ids
}

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
