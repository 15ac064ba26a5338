package connectortest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func (s storeCheck) wantReserved(t *testing.T, counter string, n, limit, want int, wantErr error) {
	t.Helper()
	got, err := s.Reserve(t.Context(), counter, n, limit, s.now.Add(time.Hour))
	if got != want || !errors.Is(err, wantErr) {
		t.Errorf("Reserve %d of %d = %d, %v, want %d, %v", n, limit, got, err, want, wantErr)
	}
}

func reserveUpToTheLimit(t *testing.T, s storeCheck) {
	counter := s.owner
	s.wantReserved(t, counter, 11, 10, 0, connector.ErrConflict)
	s.wantReserved(t, counter, 3, 10, 3, nil)
	s.wantReserved(t, counter, 8, 10, 3, connector.ErrConflict)
	s.wantReserved(t, counter, 7, 10, 10, nil)
	s.wantReserved(t, counter, 1, 10, 10, connector.ErrConflict)
	s.wantReserved(t, counter, 1, 12, 11, nil)
	s.wantReserved(t, counter, 1, 5, 11, connector.ErrConflict)
	s.wantReserved(t, counter, 0, 12, 11, nil)
	s.wantReserved(t, counter+" not yet", 0, 1, 0, nil)
	s.wantReserved(t, counter+" not yet", 1, 1, 1, nil)
	s.wantReserved(t, counter+" of nothing", 1, 0, 0, connector.ErrConflict)
}

func namesOfCountersAreUnambiguous(t *testing.T, s storeCheck) {
	for _, counter := range []string{"a#b", "a", "a#", "#a", "A", "a/b", "ü", strings.Repeat("漢", 128)} {
		s.wantReserved(t, s.owner+counter, 1, 1, 1, nil)
	}
}

func reserveGivesBack(t *testing.T, s storeCheck) {
	counter := s.owner
	s.wantReserved(t, counter, 10, 10, 10, nil)
	s.wantReserved(t, counter, -4, 10, 6, nil)
	s.wantReserved(t, counter, 5, 10, 6, connector.ErrConflict)
	s.wantReserved(t, counter, 4, 10, 10, nil)
}
