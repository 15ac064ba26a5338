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
		RecordKey: connector.RecordKey{Kind: connector.StateKind, ID: rand.Text()}, Bound: rand.Text(),
		Body: []byte(`{"owner":"ü","scopes":["a b"]}`), ExpiresAt: s.now.Add(time.Minute),
	}
}

func (s storeCheck) putTicket(t *testing.T, ticket connector.Ticket) {
	t.Helper()
	if err := s.tryPutTicket(t, ticket); err != nil {
		t.Fatalf("putting a ticket: %v", err)
	}
}

func (s storeCheck) tryPutTicket(t *testing.T, ticket connector.Ticket) error {
	t.Helper()
	_, err := s.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}})
	return err
}

func ticketIsStored(t *testing.T, s storeCheck) {
	ctx := t.Context()
	unbound := s.ticket()
	unbound.Kind, unbound.Bound = connector.LinkKind, ""
	for _, want := range []connector.Ticket{s.ticket(), unbound} {
		_, err := s.Ticket(ctx, want.RecordKey, s.now)
		wantError(t, "Ticket before it was put", err, connector.ErrNotFound)
		_, err = s.TakeTicket(ctx, want.RecordKey, want.Bound, s.now)
		wantError(t, "TakeTicket before it was put", err, connector.ErrNotFound)

		s.putTicket(t, want)
		for range 2 {
			got, err := s.Ticket(ctx, want.RecordKey, s.now)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Ticket = %+v, %v, want %+v", got, err, want)
			}
		}
		got, err := s.TakeTicket(ctx, want.RecordKey, want.Bound, s.now)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("TakeTicket = %+v, %v, want %+v", got, err, want)
		}
		_, err = s.TakeTicket(ctx, want.RecordKey, want.Bound, s.now)
		wantError(t, "TakeTicket again", err, connector.ErrNotFound)
		_, err = s.Ticket(ctx, want.RecordKey, s.now)
		wantError(t, "Ticket after TakeTicket", err, connector.ErrNotFound)
	}
}

// ticketBecomesDue checks that a ticket is due like a connection, and is not
// mistaken for one.
func ticketBecomesDue(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	ticket := s.ticket()
	ticket.Kind, ticket.ID = connector.PendingKind, string(newID(t))
	ticket.ExpiresAt, ticket.DueAt = s.now.Add(time.Hour), s.now.Add(time.Minute)
	s.putTicket(t, ticket)
	key := ticket.RecordKey

	s.wantDue(t, ticket.DueAt.Add(-time.Millisecond), key)
	s.wantDue(t, ticket.DueAt, key, ticket.DueAt)
	seen := connector.Due{RecordKey: key, DueAt: ticket.DueAt}
	due := s.due(t, ticket.DueAt, key, keyOf(c.ID))
	for _, want := range []connector.Due{seen, dueOf(c)} {
		if !slices.Contains(due, want) {
			t.Errorf("due = %v, without %v", due, want)
		}
	}
	if _, err := s.Connection(t.Context(), connector.ID(ticket.ID)); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("Connection of a ticket: %v, want %v", err, connector.ErrNotFound)
	}
	got, err := s.Ticket(t.Context(), key, s.now)
	if err != nil || !reflect.DeepEqual(got, ticket) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, ticket)
	}

	until := s.now.Add(10 * time.Minute)
	for _, kind := range []connector.Kind{connector.LinkKind, connector.ConnectionKind} {
		another := seen
		another.Kind = kind
		wantError(t, fmt.Sprintf("Claim of kind %q", kind), s.Claim(t.Context(), another, until), connector.ErrConflict)
	}
	if err := s.Claim(t.Context(), seen, until); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	wantError(t, "Claim again", s.Claim(t.Context(), seen, until), connector.ErrConflict)
	s.wantDue(t, ticket.DueAt, key)
	s.wantDue(t, until, key, until)

	taken, err := s.TakeTicket(t.Context(), key, ticket.Bound, s.now)
	ticket.DueAt = until
	if err != nil || !reflect.DeepEqual(taken, ticket) {
		t.Fatalf("TakeTicket = %+v, %v, want %+v", taken, err, ticket)
	}
	s.wantDue(t, until, key)
	wantError(t, "Claim of a taken ticket", s.Claim(t.Context(), connector.Due{RecordKey: key, DueAt: until}, until), connector.ErrConflict)

	s.putTicket(t, taken)
	s.wantDue(t, until, key, until)
	if _, err := s.Commit(t.Context(), connector.Change{Drop: []connector.RecordKey{key}}); err != nil {
		t.Fatalf("dropping a ticket: %v", err)
	}
	s.wantDue(t, until, key)
	_, err = s.TakeTicket(t.Context(), key, ticket.Bound, s.now)
	wantError(t, "TakeTicket of a dropped ticket", err, connector.ErrNotFound)
}

func ticketIsPutOnce(t *testing.T, s storeCheck) {
	want := s.ticket()
	s.putTicket(t, want)
	second := want
	second.Bound, second.Body = "", []byte(`{}`)
	wantError(t, "putting a ticket that exists", s.tryPutTicket(t, second), connector.ErrConflict)
	got, err := s.Ticket(t.Context(), want.RecordKey, s.now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Ticket = %+v, %v, want the first, %+v", got, err, want)
	}
}

func takenTicketCanBePutAgain(t *testing.T, s storeCheck) {
	want := s.ticket()
	for range 3 {
		s.putTicket(t, want)
		got, err := s.TakeTicket(t.Context(), want.RecordKey, want.Bound, s.now)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("TakeTicket = %+v, %v, want %+v", got, err, want)
		}
		s.wantTicket(t, "taken", want.RecordKey, false)
	}
	s.putTicket(t, want)
	got, err := s.Ticket(t.Context(), want.RecordKey, s.now)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, want)
	}
	wantError(t, "putting it once more", s.tryPutTicket(t, want), connector.ErrConflict)
}

// expiredTicketIsNotFound passes instants far from the real time: a store must
// use the instant that it is given.
func expiredTicketIsNotFound(t *testing.T, s storeCheck) {
	for _, year := range []int{2001, 2031} {
		ticket := s.ticket()
		ticket.ExpiresAt = time.Date(year, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
		s.putTicket(t, ticket)
		for _, late := range []time.Duration{0, time.Millisecond, time.Hour} {
			_, err := s.Ticket(t.Context(), ticket.RecordKey, ticket.ExpiresAt.Add(late))
			wantError(t, fmt.Sprintf("Ticket %v after its end", late), err, connector.ErrNotFound)
			_, err = s.TakeTicket(t.Context(), ticket.RecordKey, ticket.Bound, ticket.ExpiresAt.Add(late))
			wantError(t, fmt.Sprintf("TakeTicket %v after its end", late), err, connector.ErrNotFound)
		}
		if year < time.Now().Year() {
			continue // the database may have deleted it
		}
		justBefore := ticket.ExpiresAt.Add(-time.Millisecond)
		if _, err := s.Ticket(t.Context(), ticket.RecordKey, justBefore); err != nil {
			t.Errorf("Ticket just before its end: %v", err)
		}
		if _, err := s.TakeTicket(t.Context(), ticket.RecordKey, ticket.Bound, justBefore); err != nil {
			t.Errorf("TakeTicket just before its end: %v", err)
		}
	}
}

func ticketOfAnotherKindIsNotFound(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	s.putTicket(t, ticket)
	link := ticket
	link.Kind = connector.LinkKind
	_, err := s.TakeTicket(t.Context(), link.RecordKey, ticket.Bound, s.now)
	wantError(t, "TakeTicket", err, connector.ErrNotFound)
	s.wantTicket(t, "of another kind", link.RecordKey, false)
	s.putTicket(t, link)
}

func ticketBoundToAnotherValueStays(t *testing.T, s storeCheck) {
	ticket := s.ticket()
	s.putTicket(t, ticket)
	for _, bound := range []string{"", "another", ticket.Bound + " ", strings.ToLower(ticket.Bound)} {
		_, err := s.TakeTicket(t.Context(), ticket.RecordKey, bound, s.now)
		wantError(t, fmt.Sprintf("TakeTicket bound to %q", bound), err, connector.ErrNotFound)
	}
	if _, err := s.TakeTicket(t.Context(), ticket.RecordKey, ticket.Bound, s.now); err != nil {
		t.Errorf("TakeTicket after the wrong ones: %v", err)
	}
}

// tryReplace replaces a ticket, as it was read, by next.
func (s storeCheck) tryReplace(t *testing.T, read, next connector.Ticket) error {
	t.Helper()
	_, err := s.Commit(t.Context(), connector.Change{Replace: []connector.Replacement{{Old: read, New: next}}})
	return err
}

func ticketIsReplacedAsItWasRead(t *testing.T, s storeCheck) {
	first := s.ticket()
	first.Bound = ""
	second, third := first, first
	second.Body, second.ExpiresAt = []byte(`{"n":2}`), first.ExpiresAt.Add(time.Hour)
	third.Body = []byte(`{"n":3}`)
	wantError(t, "replacing a ticket that is not there", s.tryReplace(t, first, second), connector.ErrConflict)
	s.wantTicket(t, "of a refused replacement", first.RecordKey, false)

	s.putTicket(t, first)
	if err := s.tryReplace(t, first, second); err != nil {
		t.Fatalf("replacing a ticket: %v", err)
	}
	wantError(t, "replacing it as it was before", s.tryReplace(t, first, third), connector.ErrConflict)
	got, err := s.Ticket(t.Context(), first.RecordKey, first.ExpiresAt)
	if err != nil || !reflect.DeepEqual(got, second) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, second)
	}

	// A refused replacement writes no other part of its change.
	c, other := s.connection(t, "account"), s.ticket()
	_, err = s.Commit(t.Context(), connector.Change{
		After: &c, Put: []connector.Ticket{other}, Replace: []connector.Replacement{{Old: first, New: third}},
	})
	wantError(t, "a change beside a refused replacement", err, connector.ErrConflict)
	s.wantTicket(t, "beside a refused replacement", other.RecordKey, false)
	_, err = s.Connection(t.Context(), c.ID)
	wantError(t, "Connection beside a refused replacement", err, connector.ErrNotFound)
	_, err = s.Commit(t.Context(), connector.Change{
		After: &c, Put: []connector.Ticket{other}, Replace: []connector.Replacement{{Old: second, New: third}},
	})
	if err != nil {
		t.Fatalf("a change with a replacement: %v", err)
	}
	s.wantTicket(t, "beside a replacement", other.RecordKey, true)

	if _, err := s.TakeTicket(t.Context(), first.RecordKey, "", s.now); err != nil {
		t.Fatalf("TakeTicket: %v", err)
	}
	wantError(t, "replacing a ticket that was taken", s.tryReplace(t, third, first), connector.ErrConflict)
	s.wantTicket(t, "taken", first.RecordKey, false)
}

// ticketIsOverwritten checks that an overwritten ticket is written whether or not there is a
// ticket, and that all of the one before is gone.
func ticketIsOverwritten(t *testing.T, s storeCheck) {
	first := s.ticket()
	first.DueAt = s.now
	for _, want := range []connector.Ticket{first, {RecordKey: first.RecordKey, Body: []byte(`{}`), ExpiresAt: s.now.Add(time.Hour)}} {
		for range 2 {
			if _, err := s.Commit(t.Context(), connector.Change{Overwrite: []connector.Ticket{want}}); err != nil {
				t.Fatalf("overwriting a ticket: %v", err)
			}
		}
		got, err := s.Ticket(t.Context(), want.RecordKey, s.now)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Ticket = %+v, %v, want %+v", got, err, want)
		}
	}
	s.wantDue(t, s.now.Add(time.Hour), first.RecordKey)
	wantError(t, "putting a ticket that was overwritten", s.tryPutTicket(t, first), connector.ErrConflict)
}
