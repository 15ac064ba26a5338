package connectortest

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func oneCreateOfAnAccountSucceeds(t *testing.T, s storeCheck) {
	ids := make([]connector.ID, callers)
	succeeded := inParallel(t, connector.ErrConflict, func(n int) error {
		c := s.connection(t, "account")
		ids[n] = c.ID
		_, err := s.tryCreate(t, c)
		return err
	})
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent creations for one account succeeded, want 1", succeeded, callers)
	}
	holder, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	if err != nil {
		t.Fatalf("FindAccount: %v", err)
	}
	for _, id := range ids {
		if _, err := s.Connection(t.Context(), id); id != holder.ID && !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("Connection of a refused one: %v, want %v", err, connector.ErrNotFound)
		}
	}
}

func oneUpdateOfARevisionSucceeds(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	for range 2 {
		// All write the same: no store can tell the writers apart by the record.
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.tryUpdate(t, c, func(*connector.Connection) {})
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent updates of one revision succeeded, want 1", succeeded, callers)
		}
		c.Revision++
		s.wantStored(t, c)
	}
}

func oneDeleteSucceeds(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	succeeded := inParallel(t, connector.ErrConflict, func(int) error { return s.tryDelete(t, c) })
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent deletions succeeded, want 1", succeeded, callers)
	}
}

// oneClaimSucceeds has all callers claim until the same instant, as sweeps that
// begin together do.
func oneClaimSucceeds(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	succeeded := inParallel(t, connector.ErrConflict, func(int) error {
		return s.Claim(t.Context(), dueOf(c), s.now.Add(time.Minute))
	})
	if succeeded != 1 {
		t.Errorf("%d of %d concurrent Claims succeeded, want 1", succeeded, callers)
	}
	s.wantDue(t, s.now, keyOf(c.ID))
}

func onePutOfATicketSucceeds(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	for range 2 {
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}})
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent Puts of a ticket succeeded, want 1", succeeded, callers)
		}
		if _, err := s.TakeTicket(t.Context(), ticket.RecordKey, ticket.Bound, s.now); err != nil {
			t.Fatalf("TakeTicket: %v", err)
		}
	}
}

func oneTakeOfATicketSucceeds(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	for range 2 { // the second time it was put again
		s.putTicket(t, ticket)
		succeeded := inParallel(t, connector.ErrNotFound, func(int) error {
			_, err := s.TakeTicket(t.Context(), ticket.RecordKey, ticket.Bound, s.now)
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent TakeTickets succeeded, want 1", succeeded, callers)
		}
	}
}

func reserveNeverExceedsTheLimit(t *testing.T, s storeCheck) {
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
	s.wantReserved(t, s.owner, 1, limit, limit, connector.ErrConflict)
}

func oneReplacementOfATicketSucceeds(t *testing.T, s storeCheck) {
	read := s.ticket()
	s.putTicket(t, read)
	for round := range 2 {
		next := read
		next.Body = []byte(`{"round":` + strconv.Itoa(round) + `}`)
		succeeded := inParallel(t, connector.ErrConflict, func(int) error { return s.tryReplace(t, read, next) })
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent replacements succeeded, want 1", succeeded, callers)
		}
		read = next
	}
}
