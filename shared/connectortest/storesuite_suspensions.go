package connectortest

import (
	"reflect"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
)

// The suspensions are one record of the whole store, so that one check has all
// duties: checks that run beside it must not write them.

func suspensionsAreStored(t *testing.T, s storeCheck) {
	all := s.suspensions(t)
	if len(all.List) > 0 {
		t.Fatalf("the store has %d suspensions, want none", len(all.List))
	}
	var x connector.Suspension
	fill(t, reflect.ValueOf(&x).Elem(), s.now)
	most := x
	most.Reason = strings.Repeat("ü", 256)
	many := make([]connector.Suspension, 300)
	for i := range many {
		many[i] = most
	}
	for _, list := range [][]connector.Suspension{{x}, {x, {ID: "another"}}, many, {{ID: "another"}}, nil} {
		before := all.Revision
		put, err := s.PutSuspensions(t.Context(), connector.Suspensions{List: list, Revision: before})
		if err != nil {
			t.Fatalf("PutSuspensions of %d: %v", len(list), err)
		}
		want := connector.Suspensions{List: list, Revision: before + 1}
		if all = s.suspensions(t); !reflect.DeepEqual(put, want) || !reflect.DeepEqual(all, want) {
			t.Errorf("PutSuspensions = %+v, Suspensions = %+v, want %+v", put, all, want)
		}
		for _, revision := range []int64{0, before, before + 2} {
			_, err := s.PutSuspensions(t.Context(), connector.Suspensions{List: []connector.Suspension{x}, Revision: revision})
			wantError(t, "PutSuspensions with another revision", err, connector.ErrConflict)
		}
		if got := s.suspensions(t); !reflect.DeepEqual(got, want) {
			t.Errorf("after refused writes the suspensions are %+v, want %+v", got, want)
		}
	}
}

func (s storeCheck) suspensions(t *testing.T) connector.Suspensions {
	t.Helper()
	all, err := s.Suspensions(t.Context())
	if err != nil {
		t.Fatalf("Suspensions: %v", err)
	}
	return all
}

func onePutOfTheSuspensionsSucceeds(t *testing.T, s storeCheck) {
	for range 2 { // of a record that exists, too
		before := s.suspensions(t)
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.PutSuspensions(t.Context(), connector.Suspensions{Revision: before.Revision})
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent PutSuspensions of one revision succeeded, want 1", succeeded, callers)
		}
	}
}
