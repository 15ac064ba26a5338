package connectortest

import (
	"fmt"
	"reflect"
	"testing"

	"platform-api-connector/shared/connector"
)

// breakerKey returns the key of a breaker that no other check uses.
func (s storeCheck) breakerKey() connector.BreakerKey {
	return connector.BreakerKey{Platform: connector.Name(s.owner), Client: "client"}
}

func breakerIsStored(t *testing.T, s storeCheck) {
	got, err := s.Breaker(t.Context(), s.breakerKey())
	if err != nil || !reflect.DeepEqual(got, connector.Breaker{}) {
		t.Errorf("Breaker before PutBreaker = %+v, %v, want the zero one", got, err)
	}
	var b connector.Breaker
	fill(t, reflect.ValueOf(&b).Elem(), s.now)
	b.BreakerKey, b.Revision = s.breakerKey(), 0
	for range 2 {
		got, err = s.PutBreaker(t.Context(), b)
		b.Revision++
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Fatalf("PutBreaker = %+v, %v, want %+v", got, err, b)
		}
		if got, err = s.Breaker(t.Context(), s.breakerKey()); err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("Breaker = %+v, %v, want %+v", got, err, b)
		}
	}
	closed := connector.Breaker{BreakerKey: s.breakerKey(), Revision: b.Revision}
	if _, err := s.PutBreaker(t.Context(), closed); err != nil {
		t.Fatalf("PutBreaker: %v", err)
	}
	closed.Revision++
	if got, err = s.Breaker(t.Context(), s.breakerKey()); err != nil || !reflect.DeepEqual(got, closed) {
		t.Errorf("Breaker = %+v, %v, want %+v", got, err, closed)
	}
}

func breakerNeedsTheRevision(t *testing.T, s storeCheck) {
	ahead := connector.Breaker{BreakerKey: s.breakerKey(), Revision: 1}
	_, err := s.PutBreaker(t.Context(), ahead)
	wantError(t, "PutBreaker with a revision where there is none", err, connector.ErrConflict)
	want, err := s.PutBreaker(t.Context(), connector.Breaker{BreakerKey: s.breakerKey(), Circuit: connector.Circuit{Failures: 1}})
	if err != nil {
		t.Fatalf("PutBreaker: %v", err)
	}
	for _, revision := range []int64{0, 2} {
		_, err = s.PutBreaker(t.Context(), connector.Breaker{BreakerKey: s.breakerKey(), Revision: revision})
		wantError(t, fmt.Sprintf("PutBreaker with revision %d", revision), err, connector.ErrConflict)
	}
	if got, err := s.Breaker(t.Context(), s.breakerKey()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Breaker = %+v, %v, want %+v", got, err, want)
	}
}

func onePutOfABreakerSucceeds(t *testing.T, s storeCheck) {
	for revision := range int64(2) {
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.PutBreaker(t.Context(), connector.Breaker{BreakerKey: s.breakerKey(), Revision: revision})
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent PutBreakers of one revision succeeded, want 1", succeeded, callers)
		}
	}
}
