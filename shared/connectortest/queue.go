package connectortest

import (
	"context"
	"sync"
	"time"

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

// Enqueue implements connector.Queue. Nobody has to wait for what is added.
func (q *Queue) Enqueue(_ context.Context, ids []connector.ID, _ time.Duration) ([]connector.ID, error) {
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
