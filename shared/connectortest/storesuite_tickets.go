package connectortest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func (s storeCheck) ticket() connector.Ticket {
	return connector.Ticket{
		Kind: connector.StateTicket, Hash: rand.Text(), Bound: rand.Text(),
		Body: []byte(`{"owner":"ü","scopes":["a b"]}`), ExpiresAt: s.now.Add(time.Minute),
	}
}

func (s storeCheck) putTicket(t *testing.T, ticket connector.Ticket) {
	t.Helper()
	if err := s.PutTicket(t.Context(), ticket); err != nil {
		t.Fatalf("PutTicket: %v", err)
	}
}

func ticketComesBack(t *testing.T, s storeCheck) {
	ctx := t.Context()
	unbound := s.ticket()
	unbound.Kind, unbound.Bound = connector.LinkTicket, ""
	for _, want := range []connector.Ticket{s.ticket(), unbound} {
		_, err := s.Ticket(ctx, want.Kind, want.Hash, s.now)
		wantError(t, "Ticket before PutTicket", err, connector.ErrNotFound)
		_, err = s.TakeTicket(ctx, want.Kind, want.Hash, want.Bound, s.now)
		wantError(t, "TakeTicket before PutTicket", err, connector.ErrNotFound)

		s.putTicket(t, want)
		for range 2 {
			got, err := s.Ticket(ctx, want.Kind, want.Hash, s.now)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Ticket = %+v, %v, want %+v", got, err, want)
			}
		}
		got, err := s.TakeTicket(ctx, want.Kind, want.Hash, want.Bound, s.now)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("TakeTicket = %+v, %v, want %+v", got, err, want)
		}
		_, err = s.TakeTicket(ctx, want.Kind, want.Hash, want.Bound, s.now)
		wantError(t, "TakeTicket again", err, connector.ErrNotFound)
		_, err = s.Ticket(ctx, want.Kind, want.Hash, s.now)
		wantError(t, "Ticket after TakeTicket", err, connector.ErrNotFound)
	}
}

// ticketBecomesDue wants a ticket in the index of what is due for as long as
// it is there, next to connections and not taken for one.
func ticketBecomesDue(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	ticket := s.ticket()
	ticket.Kind, ticket.Hash, ticket.Bound = connector.PendingTicket, string(newID(t)), ""
	ticket.ExpiresAt, ticket.DueAt = s.now.Add(time.Hour), s.now.Add(time.Minute)
	s.putTicket(t, ticket)
	id := connector.ID(ticket.Hash)

	s.wantDue(t, ticket.DueAt.Add(-time.Millisecond), id)
	s.wantDue(t, ticket.DueAt, id, ticket.DueAt)
	due := s.due(t, ticket.DueAt, id, c.ID)
	for _, want := range []connector.Due{{ID: id, Ticket: connector.PendingTicket, DueAt: ticket.DueAt}, {ID: c.ID, DueAt: c.RefreshAt}} {
		if !slices.Contains(due, want) {
			t.Errorf("due = %v, without %v", due, want)
		}
	}
	if _, err := s.Connection(t.Context(), id); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("Connection of a ticket: %v, want %v", err, connector.ErrNotFound)
	}
	got, err := s.Ticket(t.Context(), ticket.Kind, ticket.Hash, s.now)
	if err != nil || !reflect.DeepEqual(got, ticket) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, ticket)
	}

	seen, until := connector.Due{ID: id, Ticket: ticket.Kind, DueAt: ticket.DueAt}, s.now.Add(10*time.Minute)
	wantError(t, "Claim of another kind", s.Claim(t.Context(), connector.Due{ID: id, Ticket: connector.LinkTicket, DueAt: ticket.DueAt}, until), connector.ErrConflict)
	wantError(t, "Claim of a connection", s.Claim(t.Context(), connector.Due{ID: id, DueAt: ticket.DueAt}, until), connector.ErrConflict)
	if err := s.Claim(t.Context(), seen, until); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	wantError(t, "Claim again", s.Claim(t.Context(), seen, until), connector.ErrConflict)
	s.wantDue(t, ticket.DueAt, id)
	s.wantDue(t, until, id, until)

	if _, err := s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, "", s.now); err != nil {
		t.Fatalf("TakeTicket: %v", err)
	}
	s.wantDue(t, until, id)
	wantError(t, "Claim of what was taken", s.Claim(t.Context(), connector.Due{ID: id, Ticket: ticket.Kind, DueAt: until}, until), connector.ErrConflict)
}

func ticketIsPutOnce(t *testing.T, s storeCheck) {
	want := s.ticket()
	s.putTicket(t, want)
	second := want
	second.Bound, second.Body = "", []byte(`{}`)
	wantError(t, "PutTicket", s.PutTicket(t.Context(), second), connector.ErrConflict)
	got, err := s.Ticket(t.Context(), want.Kind, want.Hash, s.now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Ticket = %+v, %v, want the first, %+v", got, err, want)
	}
}

// expiredTicketIsNotFound passes instants far from the clock on the wall: a
// store must go by what it is told.
func expiredTicketIsNotFound(t *testing.T, s storeCheck) {
	for _, year := range []int{2001, 2031} {
		ticket := s.ticket()
		ticket.ExpiresAt = time.Date(year, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
		s.putTicket(t, ticket)
		for _, late := range []time.Duration{0, time.Millisecond, time.Hour} {
			_, err := s.Ticket(t.Context(), ticket.Kind, ticket.Hash, ticket.ExpiresAt.Add(late))
			wantError(t, fmt.Sprintf("Ticket %v after its end", late), err, connector.ErrNotFound)
			_, err = s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, ticket.Bound, ticket.ExpiresAt.Add(late))
			wantError(t, fmt.Sprintf("TakeTicket %v after its end", late), err, connector.ErrNotFound)
		}
		if year < time.Now().Year() {
			continue // swept, perhaps
		}
		justBefore := ticket.ExpiresAt.Add(-time.Millisecond)
		if _, err := s.Ticket(t.Context(), ticket.Kind, ticket.Hash, justBefore); err != nil {
			t.Errorf("Ticket just before its end: %v", err)
		}
		if _, err := s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, ticket.Bound, justBefore); err != nil {
			t.Errorf("TakeTicket just before its end: %v", err)
		}
	}
}

func ticketOfAnotherKindIsNotFound(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	s.putTicket(t, ticket)
	_, err := s.TakeTicket(t.Context(), connector.LinkTicket, ticket.Hash, ticket.Bound, s.now)
	wantError(t, "TakeTicket", err, connector.ErrNotFound)
	_, err = s.Ticket(t.Context(), connector.DeletionTicket, ticket.Hash, s.now)
	wantError(t, "Ticket", err, connector.ErrNotFound)
	link := ticket
	link.Kind = connector.LinkTicket
	s.putTicket(t, link)
}

func ticketBoundToAnotherStays(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	s.putTicket(t, ticket)
	for _, bound := range []string{"", "another", ticket.Bound + " ", strings.ToLower(ticket.Bound)} {
		_, err := s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, bound, s.now)
		wantError(t, fmt.Sprintf("TakeTicket bound to %q", bound), err, connector.ErrNotFound)
	}
	if _, err := s.TakeTicket(t.Context(), ticket.Kind, ticket.Hash, ticket.Bound, s.now); err != nil {
		t.Errorf("TakeTicket after the wrong ones: %v", err)
	}
}
