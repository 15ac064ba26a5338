package connectortest

import (
	"context"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// Queue is a connector.Queue in memory.
type Queue struct {
	mu    sync.Mutex
	items []connector.RecordKey
}

var _ connector.Queue = (*Queue)(nil)

// NewQueue returns an empty Queue.
func NewQueue() *Queue { return &Queue{} }

// Enqueue implements connector.Queue, without the delay.
func (q *Queue) Enqueue(_ context.Context, items []connector.RecordKey, _ time.Duration) ([]connector.RecordKey, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, items...)
	return nil, nil
}

// Drain returns what was added, in order, and empties the queue.
func (q *Queue) Drain() []connector.RecordKey {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}
