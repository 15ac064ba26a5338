package connectortest

import (
	"context"

	"platform-api-connector/shared/connector"
)

// Suspensions implements connector.Store.
func (s *Store) Suspensions(context.Context) (connector.Suspensions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.suspensions), nil
}

// PutSuspensions implements connector.Store.
func (s *Store) PutSuspensions(_ context.Context, all connector.Suspensions) (connector.Suspensions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspensions.Revision != all.Revision {
		return connector.Suspensions{}, connector.ErrConflict
	}
	all = clone(all)
	all.Revision++
	s.suspensions = all
	return clone(all), nil
}
