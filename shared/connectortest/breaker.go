package connectortest

import (
	"context"

	"platform-api-connector/shared/connector"
)

// Breaker implements connector.Store.
func (s *Store) Breaker(_ context.Context, key connector.BreakerKey) (connector.Breaker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.breakers[key]), nil
}

// PutBreaker implements connector.Store.
func (s *Store) PutBreaker(_ context.Context, b connector.Breaker) (connector.Breaker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.breakers[b.BreakerKey].Revision != b.Revision {
		return connector.Breaker{}, connector.ErrConflict
	}
	b.Revision++
	s.breakers[b.BreakerKey] = clone(b)
	return b, nil
}
