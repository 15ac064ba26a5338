package connectortest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

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

// wantAccount holds that the owner's connection to an account is that one.
func (s storeCheck) wantAccount(t *testing.T, account string, want connector.ID) {
	t.Helper()
	if got, err := s.FindAccount(t.Context(), s.owner, "youtube", account); err != nil || got.ID != want {
		t.Errorf("FindAccount of %s = %v, %v, want %v", account, got.ID, err, want)
	}
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
	s.wantAccount(t, "account", second.ID)

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
	s.wantAccount(t, "account", third.ID)
}

func anotherAccountIsClaimedAnew(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "old"))
	c.AccountID = "new"
	c = s.update(t, c)
	s.wantStored(t, c)

	s.wantAccount(t, "new", c.ID)
	_, err := s.FindAccount(t.Context(), s.owner, "youtube", "old")
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
	s.wantAccount(t, "own", c.ID)
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
