package connectortest

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func oneCreateOfAnAccountSucceeds(t *testing.T, s storeCheck) {
	ids := make([]connector.ID, callers)
	succeeded := inParallel(t, connector.ErrConflict, func(n int) error {
		c := s.connection(t, "account")
		ids[n] = c.ID
		_, err := s.Create(t.Context(), c)
		return err
	})
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent Creates for one account succeeded, want 1", succeeded, callers)
	}
	holder, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	if err != nil {
		t.Fatalf("FindAccount: %v", err)
	}
	for _, id := range ids {
		if _, err := s.Connection(t.Context(), id); id != holder.ID && !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("Connection of one that was refused: %v, want %v", err, connector.ErrNotFound)
		}
	}
}

func oneUpdateOfARevisionSucceeds(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	for range 2 {
		// All write the same, so that none can be told from another's.
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.Update(t.Context(), c)
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent Updates of one revision succeeded, want 1", succeeded, callers)
		}
		c.Revision++
		s.wantStored(t, c)
	}
}

func oneClaimSucceeds(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	succeeded := inParallel(t, connector.ErrConflict, func(n int) error {
		return s.Claim(t.Context(), connector.Due{ID: c.ID, DueAt: c.RefreshAt}, s.now.Add(time.Duration(n+1)*time.Minute))
	})
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent Claims succeeded, want 1", succeeded, callers)
	}
	s.wantDue(t, s.now, c.ID)
}

func oneTakeOfATicketSucceeds(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	s.putTicket(t, ticket)
	succeeded := inParallel(t, connector.ErrNotFound, func(int) error {
		_, err := s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, ticket.Bound, s.now)
		return err
	})
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent TakeTickets succeeded, want 1", succeeded, callers)
	}
}

func reserveNeverPassesTheLimit(t *testing.T, s storeCheck) {
	const limit = 30
	succeeded := inParallel(t, connector.ErrConflict, func(int) error {
		sum, err := s.Reserve(t.Context(), s.owner, 2, limit, s.now.Add(time.Hour))
		if sum > limit {
			t.Errorf("Reserve returned %d, above the limit of %d", sum, limit)
		}
		return err
	})
	if succeeded != limit/2 {
		t.Errorf("%d concurrent Reserves of 2 succeeded, want %d", succeeded, limit/2)
	}
}
