package connectortest

import (
	"context"

	"platform-api-connector/shared/connector"
)

// Breaker implements connector.Store.
func (s *Store) Breaker(_ context.Context, platform connector.Name) (connector.Breaker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breakers[platform], nil
}

// PutBreaker implements connector.Store.
func (s *Store) PutBreaker(_ context.Context, b connector.Breaker) (connector.Breaker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.breakers[b.Platform].Revision != b.Revision {
		return connector.Breaker{}, connector.ErrConflict
	}
	b.Revision++
	s.breakers[b.Platform] = b
	return b, nil
}
