package connectortest

import (
	"crypto/rand"
	"errors"
	"reflect"
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
