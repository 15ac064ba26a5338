package connectortest

import (
	"testing"

	"platform-api-connector/shared/connector"
)

// change returns a change of a connection, a ticket that it puts, and one that
// is stored and that it drops.
func (s storeCheck) change(t *testing.T, before, after *connector.Connection) (change connector.Change, put, drop connector.Ticket) {
	t.Helper()
	put, drop = s.ticket(), s.ticket()
	s.putTicket(t, drop)
	return connector.Change{Before: before, After: after, Put: []connector.Ticket{put}, Drop: []connector.RecordKey{drop.RecordKey}}, put, drop
}

// wantTicket checks that a ticket is stored, or that it is not.
func (s storeCheck) wantTicket(t *testing.T, what string, key connector.RecordKey, stored bool) {
	t.Helper()
	var want error
	if !stored {
		want = connector.ErrNotFound
	}
	_, err := s.Ticket(t.Context(), key, s.now)
	wantError(t, "Ticket, "+what, err, want)
}

func ticketsAndConnectionCommitTogether(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	var stored *connector.Connection
	renamed, moved, disconnected := c, c, c
	renamed.AccountName = "name"
	moved.AccountID = "another"
	disconnected.AccountID, disconnected.Status = "another", connector.Disconnected
	for _, step := range []struct {
		name  string
		after *connector.Connection
	}{
		{"create", &c}, {"update", &renamed}, {"another account", &moved}, {"disconnect", &disconnected}, {"delete", nil}, {"tickets alone", nil},
	} {
		change, put, drop := s.change(t, stored, step.after)
		got, err := s.Commit(t.Context(), change)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		s.wantTicket(t, step.name+", put", put.RecordKey, true)
		s.wantTicket(t, step.name+", dropped", drop.RecordKey, false)
		stored = nil
		if step.after != nil {
			s.wantStored(t, got)
			stored = &got
		} else {
			_, err := s.Connection(t.Context(), c.ID)
			wantError(t, step.name+": Connection", err, connector.ErrNotFound)
		}
	}
}

func refusedCommitWritesNoPart(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	twin, fresh, renamed, late := s.connection(t, "account"), s.connection(t, "fresh"), c, c
	renamed.AccountName = "name"
	late.Revision++
	taken := s.ticket()
	s.putTicket(t, taken)
	for _, refused := range []struct {
		name          string
		before, after *connector.Connection
		put           []connector.Ticket // besides that of the change
	}{
		{"taken account", nil, &twin, nil},
		{"another revision", &late, &renamed, nil},
		{"another revision to delete", &late, nil, nil},
		{"create beside a ticket that exists", nil, &fresh, []connector.Ticket{taken}},
		{"update beside a ticket that exists", &c, &renamed, []connector.Ticket{taken}},
		{"delete beside a ticket that exists", &c, nil, []connector.Ticket{taken}},
		{"tickets alone, of which one exists", nil, nil, []connector.Ticket{taken}},
	} {
		change, put, drop := s.change(t, refused.before, refused.after)
		change.Put = append(change.Put, refused.put...)
		_, err := s.Commit(t.Context(), change)
		wantError(t, refused.name, err, connector.ErrConflict)
		s.wantTicket(t, refused.name+", put", put.RecordKey, false)
		s.wantTicket(t, refused.name+", dropped", drop.RecordKey, true)
		s.wantStored(t, c)
	}
	for _, absent := range []connector.ID{twin.ID, fresh.ID} {
		_, err := s.Connection(t.Context(), absent)
		wantError(t, "Connection of a refused one", err, connector.ErrNotFound)
	}
	s.create(t, fresh)
}

func absentTicketCanBeDropped(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	for _, change := range []connector.Change{
		{Drop: []connector.RecordKey{s.ticket().RecordKey}},
		{Drop: []connector.RecordKey{s.ticket().RecordKey, s.ticket().RecordKey}},
		{Drop: []connector.RecordKey{s.ticket().RecordKey}, After: &c},
	} {
		if _, err := s.Commit(t.Context(), change); err != nil {
			t.Errorf("Commit: %v", err)
		}
	}
	if _, err := s.Connection(t.Context(), c.ID); err != nil {
		t.Errorf("Connection: %v", err)
	}
}

func emptyChangeIsNoError(t *testing.T, s storeCheck) {
	if _, err := s.Commit(t.Context(), connector.Change{}); err != nil {
		t.Errorf("Commit: %v", err)
	}
}
