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

// TestStore checks a store against the duties of connector.Store. open returns
// one store, used by one check at a time. Each check has owners of its own, so
// that all may use one table.
//
// Indexes may lag behind, as connector.Store allows, for up to a few seconds.
func TestStore(t *testing.T, open func(t *testing.T) connector.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, s storeCheck)
	}{
		{"every_field_is_stored", everyFieldIsStored},
		{"each_field_is_updated_alone", eachFieldIsUpdatedAlone},
		{"empty_fields_are_read_as_empty", emptyFieldsAreReadAsEmpty},
		{"stored_values_are_not_shared", storedValuesAreNotShared},
		{"absent_connection_is_not_found", absentConnectionIsNotFound},
		{"id_is_created_once", idIsCreatedOnce},
		{"account_has_one_connection", accountHasOneConnection},
		{"names_of_accounts_are_unambiguous", namesOfAccountsAreUnambiguous},
		{"account_is_found_by_its_name", accountIsFoundByItsName},
		{"disconnecting_frees_the_account", disconnectingFreesTheAccount},
		{"deleting_frees_the_account", deletingFreesTheAccount},
		{"another_account_is_claimed", anotherAccountIsClaimed},
		{"refused_claim_changes_nothing", refusedClaimChangesNothing},
		{"update_needs_the_revision", updateNeedsTheRevision},
		{"deleted_connection_cannot_be_written", deletedConnectionCannotBeWritten},
		{"deleted_connection_can_be_created_again", deletedConnectionCanBeCreatedAgain},
		{"delete_needs_the_revision", deleteNeedsTheRevision},
		{"tickets_and_connection_commit_together", ticketsAndConnectionCommitTogether},
		{"refused_commit_writes_no_part", refusedCommitWritesNoPart},
		{"absent_ticket_can_be_dropped", absentTicketCanBeDropped},
		{"empty_change_is_no_error", emptyChangeIsNoError},
		{"listing_filters", listingFilters},
		{"listing_pages_without_gap_or_repeat", listingPagesWithoutGapOrRepeat},
		{"listing_continues_after_a_deleted_connection", listingContinuesAfterADeletedConnection},
		{"malformed_cursor_is_an_invalid_request", malformedCursorIsAnInvalidRequest},
		{"user_connections", userConnections},
		{"user_records", userRecords},
		{"due_in_order_and_in_time", dueInOrderAndInTime},
		{"not_due_without_refresh_at", notDueWithoutRefreshAt},
		{"not_due_after_deletion", notDueAfterDeletion},
		{"claim_moves_due_at", claimMovesDueAt},
		{"commit_ends_a_claim", commitEndsAClaim},
		{"claim_after_a_commit_is_refused", claimAfterACommitIsRefused},
		{"ticket_becomes_due", ticketBecomesDue},
		{"ticket_is_stored", ticketIsStored},
		{"ticket_is_put_once", ticketIsPutOnce},
		{"taken_ticket_can_be_put_again", takenTicketCanBePutAgain},
		{"ticket_is_overwritten", ticketIsOverwritten},
		{"expired_ticket_is_not_found", expiredTicketIsNotFound},
		{"ticket_of_another_kind_is_not_found", ticketOfAnotherKindIsNotFound},
		{"ticket_bound_to_another_value_stays", ticketBoundToAnotherValueStays},
		{"ticket_is_replaced_as_it_was_read", ticketIsReplacedAsItWasRead},
		{"reserve_up_to_the_limit", reserveUpToTheLimit},
		{"reserve_gives_back", reserveGivesBack},
		{"names_of_counters_are_unambiguous", namesOfCountersAreUnambiguous},
		{"breaker_is_stored", breakerIsStored},
		{"breaker_needs_the_revision", breakerNeedsTheRevision},
		{"suspensions_are_stored", suspensionsAreStored},
	} {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			check.run(t, newStoreCheck(t, open(t)))
		})
	}
}

// TestStoreConcurrency checks a store against the duties that only concurrent
// callers can break.
func TestStoreConcurrency(t *testing.T, open func(t *testing.T) connector.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, s storeCheck)
	}{
		{"one_create_of_an_account_succeeds", oneCreateOfAnAccountSucceeds},
		{"one_update_of_a_revision_succeeds", oneUpdateOfARevisionSucceeds},
		{"one_delete_succeeds", oneDeleteSucceeds},
		{"one_claim_succeeds", oneClaimSucceeds},
		{"one_put_of_a_ticket_succeeds", onePutOfATicketSucceeds},
		{"one_take_of_a_ticket_succeeds", oneTakeOfATicketSucceeds},
		{"one_replacement_of_a_ticket_succeeds", oneReplacementOfATicketSucceeds},
		{"reserve_never_exceeds_the_limit", reserveNeverExceedsTheLimit},
		{"one_put_of_a_breaker_succeeds", onePutOfABreakerSucceeds},
		{"one_put_of_the_suspensions_succeeds", onePutOfTheSuspensionsSucceeds},
	} {
		t.Run(check.name, func(t *testing.T) {
			check.run(t, newStoreCheck(t, open(t)))
		})
	}
}

// callers is how many goroutines call at once.
const callers = 50

// storeCheck is one check's view of a store.
type storeCheck struct {
	connector.Store
	owner string // of this check alone
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

// tryCreate creates c.
func (s storeCheck) tryCreate(t *testing.T, c connector.Connection) (connector.Connection, error) {
	t.Helper()
	return s.Commit(t.Context(), connector.Change{After: &c})
}

func (s storeCheck) create(t *testing.T, c connector.Connection) connector.Connection {
	t.Helper()
	created, err := s.tryCreate(t, c)
	if err != nil {
		t.Fatalf("creating a connection: %v", err)
	}
	return created
}

// tryUpdate changes c, as it was read, with edit.
func (s storeCheck) tryUpdate(t *testing.T, c connector.Connection, edit func(*connector.Connection)) (connector.Connection, error) {
	t.Helper()
	next := c
	edit(&next)
	return s.Commit(t.Context(), connector.Change{Before: &c, After: &next})
}

func (s storeCheck) update(t *testing.T, c connector.Connection, edit func(*connector.Connection)) connector.Connection {
	t.Helper()
	updated, err := s.tryUpdate(t, c, edit)
	if err != nil {
		t.Fatalf("updating a connection: %v", err)
	}
	return updated
}

func (s storeCheck) tryDelete(t *testing.T, c connector.Connection) error {
	t.Helper()
	_, err := s.Commit(t.Context(), connector.Change{Before: &c})
	return err
}

func (s storeCheck) delete(t *testing.T, c connector.Connection) {
	t.Helper()
	if err := s.tryDelete(t, c); err != nil {
		t.Fatalf("deleting a connection: %v", err)
	}
}

// dueOf is what is due of a connection.
func dueOf(c connector.Connection) connector.Due {
	return connector.Due{RecordKey: keyOf(c.ID), DueAt: c.RefreshAt}
}

func keyOf(id connector.ID) connector.RecordKey {
	return connector.RecordKey{Kind: connector.ConnectionKind, ID: string(id)}
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

// inParallel runs f in callers goroutines at once and returns how many of them
// succeeded. The others must fail with want.
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
		wantError(t, "one of the other callers", err, want)
	}
	return succeeded
}
