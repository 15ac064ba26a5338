package connectortest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
)

// within are the owners that a confined caller may act for.
func within(owners ...string) connector.Owners {
	return connector.OnlyOwners(owners...)
}

func listingFilters(t *testing.T, s storeCheck) {
	other := s.owner + " II"
	for n, c := range []connector.Connection{
		{Owner: s.owner, Platform: "youtube", Status: connector.Active},
		{Owner: s.owner, Platform: "youtube", Status: connector.Manual},
		{Owner: s.owner, Platform: "tiktok", Status: connector.NeedsReauth},
		{Owner: s.owner, Platform: "tiktok", Status: connector.Disconnected},
		{Owner: other, Platform: "youtube", Status: connector.Active},
	} {
		c.ID, c.AccountID, c.UpdatedAt = newID(t), fmt.Sprint(n), s.now
		s.create(t, c)
	}
	for _, list := range []struct {
		filter connector.Filter
		want   string
	}{
		{connector.Filter{Owner: s.owner}, "0 1 2"},
		{connector.Filter{Owner: other}, "4"},
		{connector.Filter{Owner: s.owner + " III"}, ""},
		{connector.Filter{Owner: s.owner, Platform: "tiktok"}, "2"},
		{connector.Filter{Owner: s.owner, Platform: "facebook"}, ""},
		{connector.Filter{Owner: s.owner, Status: connector.Manual}, "1"},
		{connector.Filter{Owner: s.owner, Status: connector.Disconnected}, "3"},
		{connector.Filter{Owner: s.owner, Platform: "youtube", Status: connector.Active}, "0"},
		{connector.Filter{Owner: s.owner, Platform: "youtube", Status: connector.NeedsReauth}, ""},
		{connector.Filter{Status: connector.Manual}, "1"},
		{connector.Filter{Platform: "youtube"}, "0 1 4"},
		{connector.Filter{Within: within(other)}, "4"},
		{connector.Filter{Within: within(s.owner, other), Platform: "youtube"}, "0 1 4"},
		{connector.Filter{Within: within(other), Owner: s.owner}, ""},
	} {
		eventually(t, func() string {
			var accounts []string
			for _, c := range s.list(t, list.filter, 100) {
				accounts = append(accounts, c.AccountID)
			}
			slices.Sort(accounts)
			if got := strings.Join(accounts, " "); got != list.want {
				return fmt.Sprintf("Connections(%+v): accounts %q, want %q", list.filter, got, list.want)
			}
			return ""
		})
	}
}

// list returns every connection of this check's owners that f selects.
func (s storeCheck) list(t *testing.T, f connector.Filter, limit int) []connector.Connection {
	t.Helper()
	var (
		listed []connector.Connection
		cursor string
	)
	for {
		page, next, err := s.Connections(t.Context(), f, cursor, limit)
		if err != nil {
			t.Fatalf("Connections: %v", err)
		}
		if len(page) > limit || next != "" && len(page) != limit {
			t.Fatalf("Connections: a page of %d with next %q, want %d", len(page), next, limit)
		}
		for _, c := range page {
			if strings.HasPrefix(c.Owner, s.owner) {
				listed = append(listed, c)
			}
		}
		if next == "" {
			return listed
		}
		cursor = next
	}
}

func listingPagesWithoutGapOrRepeat(t *testing.T, s storeCheck) {
	want := map[connector.ID]bool{}
	for n := range 7 {
		c := s.connection(t, fmt.Sprint(n))
		if n >= 5 {
			c.Owner += " II"
		}
		s.create(t, c)
		want[c.ID] = true
	}
	ids := func(f connector.Filter, limit int) (ids []connector.ID) {
		for _, c := range s.list(t, f, limit) {
			ids = append(ids, c.ID)
		}
		return ids
	}
	eventually(t, func() string {
		if all := ids(connector.Filter{}, 100); len(all) != len(want) {
			return fmt.Sprintf("Connections of all owners: %d, want %d", len(all), len(want))
		}
		return ""
	})
	// In a table that all checks share, small pages of all owners are many.
	limits := map[string][]int{"": {20}, s.owner: {1, 2, 5}}
	for _, owner := range []string{"", s.owner} {
		whole := ids(connector.Filter{Owner: owner}, 100)
		if count := map[string]int{"": 7, s.owner: 5}[owner]; len(whole) != count {
			t.Errorf("owner %q: %d connections, want %d", owner, len(whole), count)
		}
		for _, limit := range limits[owner] {
			if paged := ids(connector.Filter{Owner: owner}, limit); !slices.Equal(paged, whole) {
				t.Errorf("owner %q in pages of %d: %v, want %v", owner, limit, paged, whole)
			}
		}
	}
	// The last page of a listing that fits exactly says so.
	page, next, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 5)
	if err != nil || len(page) != 5 || next != "" {
		t.Errorf("a full last page: %d connections, next %q, %v, want 5 and no next", len(page), next, err)
	}
}

func listingContinuesAfterADeletedConnection(t *testing.T, s storeCheck) {
	for n := range 4 {
		s.create(t, s.connection(t, fmt.Sprint(n)))
	}
	eventually(t, func() string {
		if all := s.list(t, connector.Filter{Owner: s.owner}, 100); len(all) != 4 {
			return fmt.Sprintf("Connections: %d, want 4", len(all))
		}
		return ""
	})
	page, next, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 2)
	if err != nil || len(page) != 2 {
		t.Fatalf("Connections: %d, %v, want 2", len(page), err)
	}
	s.delete(t, page[1])
	rest, _, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, next, 5)
	if err != nil || len(rest) != 2 {
		t.Errorf("after the cursor: %d connections, %v, want the other 2", len(rest), err)
	}
}

func malformedCursorIsAnInvalidRequest(t *testing.T, s storeCheck) {
	for n := range 2 {
		s.create(t, s.connection(t, fmt.Sprint(n)))
	}
	f := connector.Filter{Owner: s.owner}
	for _, cursor := range []string{
		"x", "%%%", "e30", "bnVsbA", "W10", "IiI", strings.Repeat("A", 100_000),
		"eyJvd25lciI6IiIsImlkIjoiIn0", // {"owner":"","id":""}
		string(newID(t)), "\x00", "../../etc", "eyJwayI6eyJTIjoiY29ubmVjdGlvbiN4In19",
	} {
		_, _, err := s.Connections(t.Context(), f, cursor, 10)
		wantError(t, fmt.Sprintf("cursor %.40q", cursor), err, connector.InvalidRequest)
	}
}

func userConnections(t *testing.T, s storeCheck) {
	user := "user of " + s.owner
	want := map[connector.ID]bool{}
	for n, c := range []connector.Connection{
		{Owner: s.owner, Platform: "facebook", UserID: user, Status: connector.Active},
		{Owner: s.owner + " II", Platform: "facebook", UserID: user, Status: connector.NeedsReauth},
		{Owner: s.owner, Platform: "tiktok", UserID: user, Status: connector.Active},
		{Owner: s.owner, Platform: "facebook", UserID: user + "#", Status: connector.Active},
		{Owner: s.owner, Platform: "facebook", Status: connector.Active},
		{Owner: s.owner, Platform: "facebook", UserID: user, Status: connector.Disconnected},
	} {
		c.ID, c.AccountID, c.UpdatedAt = newID(t), fmt.Sprint(n), s.now
		s.create(t, c)
		if n < 2 {
			want[c.ID] = true
		}
	}
	wantFound := func(moment string) {
		t.Helper()
		eventually(t, func() string {
			found, err := s.UserConnections(t.Context(), "facebook", user)
			got := map[connector.ID]bool{}
			for _, c := range found {
				got[c.ID] = true
			}
			if err != nil || len(found) != len(want) || !reflect.DeepEqual(got, want) {
				return fmt.Sprintf("UserConnections %s: %v, %v, want %v", moment, got, err, want)
			}
			return ""
		})
	}
	wantFound("of two owners")

	gone, err := s.FindAccount(t.Context(), s.owner, "facebook", "0")
	if err != nil {
		t.Fatal(err)
	}
	s.disconnect(t, gone)
	delete(want, gone.ID)
	wantFound("after one was disconnected")
}

// userRecords checks that every record of a person is found: also disconnected
// connections, and tickets.
func userRecords(t *testing.T, s storeCheck) {
	user := "user of " + s.owner
	c := s.connection(t, "account")
	c.Platform, c.UserID = "facebook", user
	c = s.create(t, c)
	other := s.connection(t, "another account")
	other.Platform, other.UserID = "facebook", user+"#"
	s.create(t, other)
	ticket := s.ticket()
	ticket.Kind, ticket.Platform, ticket.UserID = connector.PendingKind, "facebook", user
	elsewhere := s.ticket()
	elsewhere.Platform, elsewhere.UserID = "tiktok", user
	if _, err := s.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket, elsewhere, s.ticket()}}); err != nil {
		t.Fatal(err)
	}
	wantRecords := func(moment string, want ...connector.RecordKey) {
		t.Helper()
		eventually(t, func() string {
			got, err := s.UserRecords(t.Context(), "facebook", user)
			found := map[connector.RecordKey]bool{}
			for _, key := range got {
				found[key] = true
			}
			wanted := map[connector.RecordKey]bool{}
			for _, key := range want {
				wanted[key] = true
			}
			if err != nil || len(got) != len(want) || !reflect.DeepEqual(found, wanted) {
				return fmt.Sprintf("UserRecords %s: %v, %v, want %v", moment, got, err, want)
			}
			return ""
		})
	}
	wantRecords("at first", keyOf(c.ID), ticket.RecordKey)
	got, err := s.Ticket(t.Context(), ticket.RecordKey, s.now)
	if err != nil || !reflect.DeepEqual(got, ticket) {
		t.Errorf("Ticket = %+v, %v, want %+v", got, err, ticket)
	}

	c = s.disconnect(t, c)
	wantRecords("after the connection was disconnected", keyOf(c.ID), ticket.RecordKey)

	anonymous := ticket
	anonymous.Platform, anonymous.UserID = "", ""
	if _, err := s.Commit(t.Context(), connector.Change{Overwrite: []connector.Ticket{anonymous}}); err != nil {
		t.Fatal(err)
	}
	wantRecords("after the ticket was replaced by one without the person", keyOf(c.ID))
	s.delete(t, c)
	wantRecords("after the connection was deleted")
}
