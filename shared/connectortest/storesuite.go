package connectortest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// TestStore holds a store against the duties of connector.Store. open returns
// one store, used by one check at a time; checks tell their records apart by
// owners of their own, so that all may use one table.
//
// Indexes may lag behind, as connector.Store allows, for up to a few seconds.
func TestStore(t *testing.T, open func(t *testing.T) connector.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, s storeCheck)
	}{
		{"every_field_comes_back", everyFieldComesBack},
		{"empty_fields_come_back_empty", emptyFieldsComeBackEmpty},
		{"stored_values_are_not_shared", storedValuesAreNotShared},
		{"absent_connection_is_not_found", absentConnectionIsNotFound},
		{"id_is_taken_once", idIsTakenOnce},
		{"no_twin_of_an_account", noTwinOfAnAccount},
		{"account_names_do_not_run_together", accountNamesDoNotRunTogether},
		{"account_is_found_by_its_name", accountIsFoundByItsName},
		{"disconnecting_frees_the_account", disconnectingFreesTheAccount},
		{"deleting_frees_the_account", deletingFreesTheAccount},
		{"another_account_is_claimed_anew", anotherAccountIsClaimedAnew},
		{"refused_claim_changes_nothing", refusedClaimChangesNothing},
		{"update_needs_the_revision", updateNeedsTheRevision},
		{"deleted_stays_deleted", deletedStaysDeleted},
		{"delete_needs_the_revision", deleteNeedsTheRevision},
		{"listing_filters", listingFilters},
		{"listing_pages_without_gap_or_repeat", listingPagesWithoutGapOrRepeat},
		{"listing_goes_on_after_its_last_one_is_deleted", listingGoesOnAfterItsLastOneIsDeleted},
		{"malformed_cursor_is_an_invalid_request", malformedCursorIsAnInvalidRequest},
		{"user_connections", userConnections},
		{"due_in_order_and_in_time", dueInOrderAndInTime},
		{"not_due_without_refresh_at", notDueWithoutRefreshAt},
		{"not_due_after_deletion", notDueAfterDeletion},
		{"claim_puts_off", claimPutsOff},
		{"claim_of_what_moved_is_refused", claimOfWhatMovedIsRefused},
		{"ticket_becomes_due", ticketBecomesDue},
		{"ticket_comes_back", ticketComesBack},
		{"ticket_is_put_once", ticketIsPutOnce},
		{"expired_ticket_is_not_found", expiredTicketIsNotFound},
		{"ticket_of_another_kind_is_not_found", ticketOfAnotherKindIsNotFound},
		{"ticket_bound_to_another_stays", ticketBoundToAnotherStays},
		{"reserve_up_to_the_limit", reserveUpToTheLimit},
		{"counters_do_not_run_together", countersDoNotRunTogether},
		{"breaker_comes_back", breakerComesBack},
		{"breaker_needs_the_revision", breakerNeedsTheRevision},
	} {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			check.run(t, newStoreCheck(t, open(t)))
		})
	}
}

// TestStoreConcurrency holds a store against those duties that only many
// callers at a time can break.
func TestStoreConcurrency(t *testing.T, open func(t *testing.T) connector.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, s storeCheck)
	}{
		{"one_create_of_an_account_succeeds", oneCreateOfAnAccountSucceeds},
		{"one_update_of_a_revision_succeeds", oneUpdateOfARevisionSucceeds},
		{"one_claim_succeeds", oneClaimSucceeds},
		{"one_take_of_a_ticket_succeeds", oneTakeOfATicketSucceeds},
		{"reserve_never_passes_the_limit", reserveNeverPassesTheLimit},
		{"one_put_of_a_breaker_succeeds", onePutOfABreakerSucceeds},
	} {
		t.Run(check.name, func(t *testing.T) {
			check.run(t, newStoreCheck(t, open(t)))
		})
	}
}

// callers is how many goroutines compete.
const callers = 50

// storeCheck is one check's view of a store.
type storeCheck struct {
	connector.Store
	owner string // nobody else's
	now   time.Time
}

func newStoreCheck(t *testing.T, s connector.Store) storeCheck {
	t.Helper()
	return storeCheck{
		Store: s,
		owner: "owner " + rand.Text(),
		now:   time.Date(2031, 2, 3, 4, 5, 6, 789_000_000, time.UTC),
	}
}

func newID(t *testing.T) connector.ID {
	t.Helper()
	id, err := connector.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// connection returns a connection to that account that is not stored.
func (s storeCheck) connection(t *testing.T, accountID string) connector.Connection {
	t.Helper()
	return connector.Connection{
		ID: newID(t), Platform: "youtube", Owner: s.owner, AccountID: accountID,
		Status: connector.Active, UserID: "user of " + s.owner,
		CreatedAt: s.now, UpdatedAt: s.now, RefreshAt: s.now,
	}
}

func (s storeCheck) create(t *testing.T, c connector.Connection) connector.Connection {
	t.Helper()
	created, err := s.Create(t.Context(), c)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return created
}

func (s storeCheck) update(t *testing.T, c connector.Connection) connector.Connection {
	t.Helper()
	updated, err := s.Update(t.Context(), c)
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return updated
}

func (s storeCheck) wantStored(t *testing.T, want connector.Connection) {
	t.Helper()
	got, err := s.Connection(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("Connection: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the stored connection is\n%+v, want\n%+v", got, want)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// eventually repeats a check on an index, which may lag behind.
func eventually(t *testing.T, check func() (problem string)) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Error(problem)
			return
		}
		select {
		case <-t.Context().Done():
			t.Error(problem)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// inParallel runs f in callers goroutines at once and returns how many of
// them succeeded. The others must have failed with want.
func inParallel(t *testing.T, want error, f func(n int) error) int {
	t.Helper()
	var (
		group sync.WaitGroup
		start = make(chan struct{})
		errs  = make([]error, callers)
	)
	for n := range callers {
		group.Go(func() {
			<-start
			errs[n] = f(n)
		})
	}
	close(start)
	group.Wait()

	succeeded := 0
	for _, err := range errs {
		if err == nil {
			succeeded++
			continue
		}
		wantError(t, "a caller that came too late", err, want)
	}
	return succeeded
}

func everyFieldComesBack(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	fill(t, reflect.ValueOf(&c).Elem(), s.now)
	c.ID, c.Owner, c.Status = newID(t), s.owner, connector.Active

	created := s.create(t, c)
	c.Revision = 1
	if !reflect.DeepEqual(created, c) {
		t.Errorf("Create returned\n%+v, want\n%+v", created, c)
	}
	s.wantStored(t, c)

	updated := s.update(t, c)
	c.Revision = 2
	if !reflect.DeepEqual(updated, c) {
		t.Errorf("Update returned\n%+v, want\n%+v", updated, c)
	}
	s.wantStored(t, c)

	eventually(t, func() string {
		listed, _, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 10)
		if err != nil || len(listed) != 1 || !reflect.DeepEqual(listed[0], c) {
			return fmt.Sprintf("Connections: %+v, %v, want\n%+v", listed, err, c)
		}
		return ""
	})
}

// fill sets every field to a value that is not its zero, and differs from
// those of other fields where the kind allows it.
func fill(t *testing.T, v reflect.Value, at time.Time) {
	t.Helper()
	n := 0
	var set func(v reflect.Value, name string)
	set = func(v reflect.Value, name string) {
		n++
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(at.Add(time.Duration(n) * 1001 * time.Millisecond)))
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				set(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case v.Kind() == reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			set(v.Index(0), name)
			set(v.Index(1), name)
		case v.Kind() == reflect.String:
			v.SetString(fmt.Sprintf("ü %d \"#\"", n))
		case v.CanInt():
			v.SetInt(int64(n))
		case v.CanUint():
			v.SetUint(uint64(n))
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		default:
			t.Fatalf("the suite cannot fill %s, a %s: teach it", name, v.Type())
		}
	}
	set(v, "Connection")
}

func emptyFieldsComeBackEmpty(t *testing.T, s storeCheck) {
	c := connector.Connection{ID: newID(t), Platform: "youtube", Owner: s.owner, AccountID: "account", Status: connector.Manual}
	s.create(t, c)
	c.Revision = 1
	s.wantStored(t, c)
}

func storedValuesAreNotShared(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	c.Scopes = []string{"first", "second"}
	created := s.create(t, c)
	want := created
	want.Scopes = []string{"first", "second"}

	c.Scopes[0] = "changed by the creator"
	created.Scopes[1] = "changed in the answer"
	read, err := s.Connection(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	read.Scopes[0] = "changed by a reader"
	s.wantStored(t, want)
}

func absentConnectionIsNotFound(t *testing.T, s storeCheck) {
	_, err := s.Connection(t.Context(), newID(t))
	wantError(t, "Connection", err, connector.ErrNotFound)
	_, err = s.FindAccount(t.Context(), s.owner, "youtube", "account")
	wantError(t, "FindAccount", err, connector.ErrNotFound)
	_, err = s.Update(t.Context(), s.connection(t, "account"))
	wantError(t, "Update", err, connector.ErrConflict)
	wantError(t, "Delete", s.Delete(t.Context(), newID(t), 1), connector.ErrConflict)
}

func idIsTakenOnce(t *testing.T, s storeCheck) {
	first := s.create(t, s.connection(t, "first"))
	second := s.connection(t, "second")
	second.ID = first.ID
	_, err := s.Create(t.Context(), second)
	wantError(t, "Create", err, connector.ErrConflict)

	s.wantStored(t, first)
	_, err = s.FindAccount(t.Context(), s.owner, "youtube", "second")
	wantError(t, "FindAccount of the refused one", err, connector.ErrNotFound)
}

func noTwinOfAnAccount(t *testing.T, s storeCheck) {
	first := s.create(t, s.connection(t, "account"))
	twin := s.connection(t, "account")
	_, err := s.Create(t.Context(), twin)
	wantError(t, "Create", err, connector.ErrConflict)
	_, err = s.Connection(t.Context(), twin.ID)
	wantError(t, "Connection of the twin", err, connector.ErrNotFound)
	s.wantStored(t, first)

	elsewhere := s.connection(t, "account")
	elsewhere.Platform = "tiktok"
	s.create(t, elsewhere)
	another := s.connection(t, "account")
	another.Owner += " II"
	s.create(t, another)
}

func accountNamesDoNotRunTogether(t *testing.T, s storeCheck) {
	type name struct{ owner, accountID string }
	long := strings.Repeat("漢", 128-len(s.owner))
	names := []name{{long, "é"}, {long, "e\u0301"}, {"A", "c"}, {"a", "C"}, {"a", "c"}}
	for _, delimiter := range []string{"#", "|", "/", ":", " ", "\"", "\\", ",", "1:"} {
		// The platform may stand before, between or after the two.
		names = append(names,
			name{"a" + delimiter + "b", "c"}, name{"a", "b" + delimiter + "c"},
			name{"a" + delimiter + "youtube", "c"}, name{"a", "youtube" + delimiter + "c"})
	}
	for _, account := range names {
		c := s.connection(t, account.accountID)
		c.Owner += account.owner
		want := s.create(t, c)
		got, err := s.FindAccount(t.Context(), c.Owner, c.Platform, c.AccountID)
		if err != nil || got.ID != want.ID {
			t.Errorf("FindAccount(%q, %q) = %v, %v, want %v", c.Owner, c.AccountID, got.ID, err, want.ID)
		}
	}
}

func accountIsFoundByItsName(t *testing.T, s storeCheck) {
	var want connector.Connection
	for _, account := range []string{"before", "account", "after"} {
		c := s.create(t, s.connection(t, account))
		if account == "account" {
			want = c
		}
	}
	got, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("FindAccount = %+v, %v, want %+v", got, err, want)
	}
}

// disconnect ends c as the connector does.
func (s storeCheck) disconnect(t *testing.T, c connector.Connection) connector.Connection {
	t.Helper()
	c.Status, c.RefreshAt = connector.Disconnected, time.Time{}
	return s.update(t, c)
}

func disconnectingFreesTheAccount(t *testing.T, s storeCheck) {
	first := s.disconnect(t, s.create(t, s.connection(t, "account")))
	s.wantStored(t, first)
	_, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	wantError(t, "FindAccount", err, connector.ErrNotFound)

	second := s.create(t, s.connection(t, "account"))
	first.StatusReason = "still there"
	first = s.update(t, first)
	s.wantStored(t, first)
	got, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	if err != nil || got.ID != second.ID {
		t.Errorf("FindAccount = %v, %v, want the second connection %v", got.ID, err, second.ID)
	}

	first.Status = connector.Active
	_, err = s.Update(t.Context(), first)
	wantError(t, "coming back to an account that is taken", err, connector.ErrConflict)
}

func deletingFreesTheAccount(t *testing.T, s storeCheck) {
	first := s.create(t, s.connection(t, "account"))
	if err := s.Delete(t.Context(), first.ID, first.Revision); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	wantError(t, "FindAccount", err, connector.ErrNotFound)
	second := s.disconnect(t, s.create(t, s.connection(t, "account")))
	third := s.create(t, s.connection(t, "account"))
	if err := s.Delete(t.Context(), second.ID, second.Revision); err != nil {
		t.Fatalf("Delete of a disconnected one: %v", err)
	}
	if got, err := s.FindAccount(t.Context(), s.owner, "youtube", "account"); err != nil || got.ID != third.ID {
		t.Errorf("FindAccount = %v, %v, want the third connection %v", got.ID, err, third.ID)
	}
}

func anotherAccountIsClaimedAnew(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "old"))
	c.AccountID = "new"
	c = s.update(t, c)
	s.wantStored(t, c)

	got, err := s.FindAccount(t.Context(), s.owner, "youtube", "new")
	if err != nil || got.ID != c.ID {
		t.Errorf("FindAccount of the new account = %v, %v, want %v", got.ID, err, c.ID)
	}
	_, err = s.FindAccount(t.Context(), s.owner, "youtube", "old")
	wantError(t, "FindAccount of the old account", err, connector.ErrNotFound)
	_, err = s.Create(t.Context(), s.connection(t, "new"))
	wantError(t, "Create for the new account", err, connector.ErrConflict)
	s.create(t, s.connection(t, "old"))
}

func refusedClaimChangesNothing(t *testing.T, s storeCheck) {
	holder := s.create(t, s.connection(t, "taken"))
	c := s.create(t, s.connection(t, "own"))
	moved := c
	moved.AccountID = "taken"
	_, err := s.Update(t.Context(), moved)
	wantError(t, "Update", err, connector.ErrConflict)

	s.wantStored(t, holder)
	s.wantStored(t, c)
	if got, err := s.FindAccount(t.Context(), s.owner, "youtube", "own"); err != nil || got.ID != c.ID {
		t.Errorf("FindAccount of its own account = %v, %v, want %v", got.ID, err, c.ID)
	}
	c.AccountName = "can still be written"
	s.update(t, c)
}

func updateNeedsTheRevision(t *testing.T, s storeCheck) {
	early := s.create(t, s.connection(t, "account"))
	late := early
	early.AccountName = "early"
	early = s.update(t, early)

	late.AccountName = "late"
	_, err := s.Update(t.Context(), late)
	wantError(t, "Update by the late holder", err, connector.ErrConflict)
	late.Status = connector.Disconnected
	_, err = s.Update(t.Context(), late)
	wantError(t, "disconnecting by the late holder", err, connector.ErrConflict)
	late.Status, late.AccountID = connector.Active, "another"
	_, err = s.Update(t.Context(), late)
	wantError(t, "another account by the late holder", err, connector.ErrConflict)
	ahead := early
	ahead.Revision++
	_, err = s.Update(t.Context(), ahead)
	wantError(t, "Update with a revision to come", err, connector.ErrConflict)

	s.wantStored(t, early)
	s.create(t, s.connection(t, "another"))
}

func deletedStaysDeleted(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	if err := s.Delete(t.Context(), c.ID, c.Revision); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err := s.Update(t.Context(), c)
	wantError(t, "Update", err, connector.ErrConflict)
	_, err = s.Connection(t.Context(), c.ID)
	wantError(t, "Connection", err, connector.ErrNotFound)
	err = s.Claim(t.Context(), connector.Due{ID: c.ID, DueAt: c.RefreshAt}, s.now)
	wantError(t, "Claim", err, connector.ErrConflict)
	_, err = s.Connection(t.Context(), c.ID)
	wantError(t, "Connection after the claim", err, connector.ErrNotFound)
	eventually(t, func() string {
		if listed, _, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 10); err != nil || len(listed) > 0 {
			return fmt.Sprintf("Connections after Delete: %+v, %v, want none", listed, err)
		}
		return ""
	})
}

func deleteNeedsTheRevision(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	wantError(t, "Delete", s.Delete(t.Context(), c.ID, c.Revision+1), connector.ErrConflict)
	s.wantStored(t, c)
}

// within are the owners that a confined caller may act for.
func within(owners ...string) connector.Owners {
	return connector.Callers{"caller": owners}.OwnersOf("caller")
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

func listingGoesOnAfterItsLastOneIsDeleted(t *testing.T, s storeCheck) {
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
	if err := s.Delete(t.Context(), page[1].ID, page[1].Revision); err != nil {
		t.Fatal(err)
	}
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

// due returns what is due among ids, in the order in which its shard has it,
// and checks that each comes from one shard only.
func (s storeCheck) due(t *testing.T, now time.Time, ids ...connector.ID) []connector.Due {
	t.Helper()
	var found []connector.Due
	for shard := range connector.DueShards {
		due, err := s.Due(t.Context(), shard, now, 1000)
		if err != nil {
			t.Fatalf("Due: %v", err)
		}
		for n, d := range due {
			if n > 0 && d.DueAt.Before(due[n-1].DueAt) {
				t.Errorf("shard %d: %v comes after %v", shard, d, due[n-1])
			}
			if !slices.Contains(ids, d.ID) {
				continue
			}
			if slices.ContainsFunc(found, func(f connector.Due) bool { return f.ID == d.ID }) {
				t.Errorf("%v is due twice", d.ID)
			}
			found = append(found, d)
		}
	}
	return found
}

func (s storeCheck) wantDue(t *testing.T, now time.Time, id connector.ID, want ...time.Time) {
	t.Helper()
	eventually(t, func() string {
		var got []time.Time
		for _, d := range s.due(t, now, id) {
			got = append(got, d.DueAt)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			return fmt.Sprintf("due at %v: %v, want %v", now, got, want)
		}
		return ""
	})
}

func dueInOrderAndInTime(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	s.wantDue(t, c.RefreshAt.Add(-time.Millisecond), c.ID)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)

	// With 3 times as many as shards, some shard has to put them in order.
	ids := []connector.ID{c.ID}
	for n := range 3 * connector.DueShards {
		another := s.connection(t, fmt.Sprint(n))
		another.RefreshAt = s.now.Add(-time.Duration(n*n%47) * time.Second)
		ids = append(ids, s.create(t, another).ID)
	}
	eventually(t, func() string {
		if got := s.due(t, s.now, ids...); len(got) != len(ids) {
			return fmt.Sprintf("%d are due, want %d", len(got), len(ids))
		}
		return ""
	})
	for shard := range connector.DueShards {
		all, err := s.Due(t.Context(), shard, s.now, 1000)
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.Due(t.Context(), shard, s.now, 1)
		if err != nil || len(first) != min(1, len(all)) {
			t.Errorf("shard %d with limit 1: %v, %v", shard, first, err)
		}
	}
	c.RefreshAt = s.now.Add(time.Hour)
	s.update(t, c)
	s.wantDue(t, s.now, c.ID)
	s.wantDue(t, s.now.Add(time.Hour), c.ID, c.RefreshAt)
}

func notDueWithoutRefreshAt(t *testing.T, s storeCheck) {
	for _, status := range []connector.Status{connector.Manual, connector.NeedsReauth} {
		c := s.connection(t, string(status))
		c.Status, c.RefreshAt = status, time.Time{}
		c = s.create(t, c)
		s.wantDue(t, s.now, c.ID)
		wantError(t, "Claim", s.Claim(t.Context(), connector.Due{ID: c.ID}, s.now), connector.ErrConflict)
		s.wantStored(t, c)
	}
	gone := s.connection(t, "gone")
	gone.Status = connector.Disconnected
	gone = s.create(t, gone)
	s.wantDue(t, s.now, gone.ID, gone.RefreshAt)

	for _, end := range []connector.Status{connector.NeedsReauth, connector.Disconnected} {
		c := s.create(t, s.connection(t, "was active, now "+string(end)))
		s.wantDue(t, s.now, c.ID, c.RefreshAt)
		c.Status, c.RefreshAt = end, time.Time{}
		c = s.update(t, c)
		s.wantDue(t, s.now, c.ID)
		c.Status, c.RefreshAt = connector.Active, s.now
		s.update(t, c)
		s.wantDue(t, s.now, c.ID, s.now)
	}
}

func notDueAfterDeletion(t *testing.T, s storeCheck) {
	stays := s.create(t, s.connection(t, "stays"))
	for n := range 4 {
		c := s.create(t, s.connection(t, fmt.Sprint(n)))
		if n%2 == 0 {
			c.RefreshAt = time.Time{}
			c = s.update(t, c)
		}
		if err := s.Delete(t.Context(), c.ID, c.Revision); err != nil {
			t.Fatal(err)
		}
		s.wantDue(t, s.now, c.ID)
	}
	s.wantDue(t, s.now, stays.ID, stays.RefreshAt)
}

func claimPutsOff(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	until := s.now.Add(10 * time.Minute)
	if err := s.Claim(t.Context(), connector.Due{ID: c.ID, DueAt: c.RefreshAt}, until); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	s.wantStored(t, c)
	s.wantDue(t, s.now, c.ID)
	s.wantDue(t, until, c.ID, until)

	// The claim neither keeps the record from being written nor outlives that.
	c.RefreshAt = s.now.Add(time.Minute)
	s.update(t, c)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)
}

func claimOfWhatMovedIsRefused(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	seen := connector.Due{ID: c.ID, DueAt: c.RefreshAt}
	c.RefreshAt = s.now.Add(time.Hour)
	c = s.update(t, c)
	wantError(t, "Claim", s.Claim(t.Context(), seen, s.now.Add(time.Minute)), connector.ErrConflict)
	s.wantDue(t, c.RefreshAt, c.ID, c.RefreshAt)
	wantError(t, "Claim of nothing", s.Claim(t.Context(), connector.Due{ID: newID(t), DueAt: s.now}, s.now), connector.ErrConflict)
}

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
	s.wantReserved(t, counter+" of nothing", 1, 0, 0, connector.ErrConflict)
}

func countersDoNotRunTogether(t *testing.T, s storeCheck) {
	for _, counter := range []string{"a#b", "a", "a#", "#a", "A", "a/b", "ü", strings.Repeat("漢", 128)} {
		s.wantReserved(t, s.owner+counter, 1, 1, 1, nil)
	}
}

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

// platform returns the name of a platform that no other check uses.
func (s storeCheck) platform() connector.Name { return connector.Name(s.owner) }

func breakerComesBack(t *testing.T, s storeCheck) {
	got, err := s.Breaker(t.Context(), s.platform())
	if err != nil || !reflect.DeepEqual(got, connector.Breaker{}) {
		t.Errorf("Breaker before PutBreaker = %+v, %v, want the zero one", got, err)
	}
	var b connector.Breaker
	fill(t, reflect.ValueOf(&b).Elem(), s.now)
	b.Platform, b.Revision = s.platform(), 0
	for range 2 {
		got, err = s.PutBreaker(t.Context(), b)
		b.Revision++
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Fatalf("PutBreaker = %+v, %v, want %+v", got, err, b)
		}
		if got, err = s.Breaker(t.Context(), s.platform()); err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("Breaker = %+v, %v, want %+v", got, err, b)
		}
	}
	closed := connector.Breaker{Platform: s.platform(), Revision: b.Revision}
	if _, err := s.PutBreaker(t.Context(), closed); err != nil {
		t.Fatalf("PutBreaker: %v", err)
	}
	closed.Revision++
	if got, err = s.Breaker(t.Context(), s.platform()); err != nil || !reflect.DeepEqual(got, closed) {
		t.Errorf("Breaker = %+v, %v, want %+v", got, err, closed)
	}
}

func breakerNeedsTheRevision(t *testing.T, s storeCheck) {
	ahead := connector.Breaker{Platform: s.platform(), Revision: 1}
	_, err := s.PutBreaker(t.Context(), ahead)
	wantError(t, "PutBreaker with a revision where there is none", err, connector.ErrConflict)
	want, err := s.PutBreaker(t.Context(), connector.Breaker{Platform: s.platform(), Failures: 1})
	if err != nil {
		t.Fatalf("PutBreaker: %v", err)
	}
	for _, revision := range []int64{0, 2} {
		_, err = s.PutBreaker(t.Context(), connector.Breaker{Platform: s.platform(), Revision: revision})
		wantError(t, fmt.Sprintf("PutBreaker with revision %d", revision), err, connector.ErrConflict)
	}
	if got, err := s.Breaker(t.Context(), s.platform()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Breaker = %+v, %v, want %+v", got, err, want)
	}
}

func onePutOfABreakerSucceeds(t *testing.T, s storeCheck) {
	for revision := range int64(2) {
		succeeded := inParallel(t, connector.ErrConflict, func(int) error {
			_, err := s.PutBreaker(t.Context(), connector.Breaker{Platform: s.platform(), Revision: revision})
			return err
		})
		if succeeded != 1 {
			t.Errorf("%d of %d concurrent PutBreakers of one revision succeeded, want 1", succeeded, callers)
		}
	}
}
