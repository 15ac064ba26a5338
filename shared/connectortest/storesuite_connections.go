package connectortest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

// filled returns a connection of which no field is empty.
func (s storeCheck) filled(t *testing.T) connector.Connection {
	t.Helper()
	var c connector.Connection
	fill(t, reflect.ValueOf(&c).Elem(), s.now)
	c.ID, c.Owner, c.Status = newID(t), s.owner, connector.Active
	return c
}

// bare returns the same connection with nothing but what identifies it.
func bare(c connector.Connection) connector.Connection {
	return connector.Connection{ID: c.ID, Platform: c.Platform, Owner: c.Owner, AccountID: c.AccountID, Status: c.Status}
}

func everyFieldIsStored(t *testing.T, s storeCheck) {
	want := s.filled(t)
	got := s.create(t, want)
	for revision := int64(1); ; revision++ {
		want.Revision = revision
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Commit returned\n%+v, want\n%+v", got, want)
		}
		s.wantStored(t, want)
		eventually(t, func() string {
			listed, _, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 10)
			if err != nil || len(listed) != 1 || !reflect.DeepEqual(listed[0], want) {
				return fmt.Sprintf("Connections: %+v, %v, want\n%+v", listed, err, want)
			}
			return ""
		})
		switch revision {
		case 1: // the same again
		case 2:
			want = bare(want)
		case 3:
			id := want.ID
			want = s.filled(t)
			want.ID = id
		case 4:
			return
		}
		got = s.update(t, got, func(c *connector.Connection) { *c = want })
	}
}

// eachFieldIsUpdatedAlone sets and clears one field at a time.
func eachFieldIsUpdatedAlone(t *testing.T, s storeCheck) {
	full := s.filled(t)
	full.Owner, full.Status = s.owner+" II", connector.NeedsReauth
	c := s.create(t, bare(s.filled(t)))
	empty := c
	fields := reflect.TypeFor[connector.Connection]()
	for n := range fields.NumField() {
		name := fields.Field(n).Name
		if name == "ID" || name == "Revision" {
			continue
		}
		for _, from := range []connector.Connection{full, empty} {
			want := c
			reflect.ValueOf(&want).Elem().Field(n).Set(reflect.ValueOf(from).Field(n))
			c = s.update(t, c, func(c *connector.Connection) { *c = want })
			want.Revision++
			s.wantStored(t, want)
			if t.Failed() {
				t.Fatalf("%s was not updated alone", name)
			}
		}
	}
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
			t.Fatalf("fill has no value for %s, a %s", name, v.Type())
		}
	}
	set(v, v.Type().Name())
}

func emptyFieldsAreReadAsEmpty(t *testing.T, s storeCheck) {
	c := connector.Connection{ID: newID(t), Platform: "youtube", Owner: s.owner, AccountID: "account", Status: connector.Manual}
	s.create(t, c)
	c.Revision = 1
	s.wantStored(t, c)
}

func storedValuesAreNotShared(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	c.Scopes, c.Credentials.Sealed = []string{"first", "second"}, []byte("ab")
	created := s.create(t, c)
	want := created
	want.Scopes, want.Credentials.Sealed = []string{"first", "second"}, []byte("ab")

	c.Scopes[0], c.Credentials.Sealed[0] = "changed by the creator", 'x'
	created.Scopes[1], created.Credentials.Sealed[1] = "changed in the answer", 'x'
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
	absent := s.connection(t, "account")
	for _, revision := range []int64{0, 1} {
		absent.Revision = revision
		for _, account := range []string{"account", "another"} {
			_, err = s.tryUpdate(t, absent, func(c *connector.Connection) { c.AccountID = account })
			wantError(t, "updating it", err, connector.ErrConflict)
		}
		wantError(t, "deleting it", s.tryDelete(t, absent), connector.ErrConflict)
	}
	_, err = s.Connection(t.Context(), absent.ID)
	wantError(t, "Connection after the updates", err, connector.ErrNotFound)
}

func idIsCreatedOnce(t *testing.T, s storeCheck) {
	first := s.create(t, s.connection(t, "first"))
	second := s.connection(t, "second")
	second.ID = first.ID
	_, err := s.tryCreate(t, second)
	wantError(t, "creating another connection with that id", err, connector.ErrConflict)
	second.Status = connector.Disconnected // claims no account
	_, err = s.tryCreate(t, second)
	wantError(t, "creating a disconnected connection with that id", err, connector.ErrConflict)

	s.wantStored(t, first)
	_, err = s.FindAccount(t.Context(), s.owner, "youtube", "second")
	wantError(t, "FindAccount of the refused connection", err, connector.ErrNotFound)
}

func accountHasOneConnection(t *testing.T, s storeCheck) {
	first := s.create(t, s.connection(t, "account"))
	twin := s.connection(t, "account")
	_, err := s.tryCreate(t, twin)
	wantError(t, "creating a second connection", err, connector.ErrConflict)
	_, err = s.Connection(t.Context(), twin.ID)
	wantError(t, "Connection of the second one", err, connector.ErrNotFound)
	s.wantStored(t, first)

	elsewhere := s.connection(t, "account")
	elsewhere.Platform = "tiktok"
	s.create(t, elsewhere)
	another := s.connection(t, "account")
	another.Owner += " II"
	s.create(t, another)
}

func namesOfAccountsAreUnambiguous(t *testing.T, s storeCheck) {
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

// disconnect disconnects c as the connector does.
func (s storeCheck) disconnect(t *testing.T, c connector.Connection) connector.Connection {
	t.Helper()
	return s.update(t, c, func(c *connector.Connection) { c.Status, c.RefreshAt = connector.Disconnected, time.Time{} })
}

// wantAccount checks that the owner's connection to an account is that one.
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
	first = s.update(t, first, func(c *connector.Connection) { c.StatusReason = "still stored" })
	s.wantStored(t, first)
	s.wantAccount(t, "account", second.ID)

	_, err = s.tryUpdate(t, first, func(c *connector.Connection) { c.Status = connector.Active })
	wantError(t, "claiming an account that is taken", err, connector.ErrConflict)
	s.disconnect(t, second)
	first = s.update(t, first, func(c *connector.Connection) { c.Status = connector.Active })
	s.wantAccount(t, "account", first.ID)
}

func deletingFreesTheAccount(t *testing.T, s storeCheck) {
	s.delete(t, s.create(t, s.connection(t, "account")))
	_, err := s.FindAccount(t.Context(), s.owner, "youtube", "account")
	wantError(t, "FindAccount", err, connector.ErrNotFound)
	second := s.disconnect(t, s.create(t, s.connection(t, "account")))
	third := s.create(t, s.connection(t, "account"))
	s.delete(t, second)
	s.wantAccount(t, "account", third.ID)
}

func anotherAccountIsClaimed(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "old"))
	c = s.update(t, c, func(c *connector.Connection) { c.AccountID = "new" })
	s.wantStored(t, c)

	s.wantAccount(t, "new", c.ID)
	_, err := s.FindAccount(t.Context(), s.owner, "youtube", "old")
	wantError(t, "FindAccount of the old account", err, connector.ErrNotFound)
	_, err = s.tryCreate(t, s.connection(t, "new"))
	wantError(t, "creating a connection to the new account", err, connector.ErrConflict)
	s.create(t, s.connection(t, "old"))
}

func refusedClaimChangesNothing(t *testing.T, s storeCheck) {
	holder := s.create(t, s.connection(t, "taken"))
	c := s.create(t, s.connection(t, "own"))
	_, err := s.tryUpdate(t, c, func(c *connector.Connection) { c.AccountID = "taken" })
	wantError(t, "claiming the account of another connection", err, connector.ErrConflict)

	s.wantStored(t, holder)
	s.wantStored(t, c)
	s.wantAccount(t, "own", c.ID)
	s.update(t, c, func(c *connector.Connection) { c.AccountName = "can still be written" })
}

func updateNeedsTheRevision(t *testing.T, s storeCheck) {
	late := s.create(t, s.connection(t, "account"))
	early := s.update(t, late, func(c *connector.Connection) { c.AccountName = "early" })

	for what, edit := range map[string]func(*connector.Connection){
		"another name":    func(c *connector.Connection) { c.AccountName = "late" },
		"disconnected":    func(c *connector.Connection) { c.Status = connector.Disconnected },
		"another account": func(c *connector.Connection) { c.AccountID = "another" },
	} {
		_, err := s.tryUpdate(t, late, edit)
		wantError(t, what+", by a writer that read too early", err, connector.ErrConflict)
	}
	ahead := early
	ahead.Revision++
	_, err := s.tryUpdate(t, ahead, func(*connector.Connection) {})
	wantError(t, "updating a later revision", err, connector.ErrConflict)

	s.wantStored(t, early)
	s.wantAccount(t, "account", early.ID)
	s.create(t, s.connection(t, "another"))
}

func deletedConnectionCannotBeWritten(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	s.delete(t, c)
	_, err := s.tryUpdate(t, c, func(c *connector.Connection) { c.AccountName = "late" })
	wantError(t, "updating it", err, connector.ErrConflict)
	wantError(t, "deleting it again", s.tryDelete(t, c), connector.ErrConflict)
	wantError(t, "Claim", s.Claim(t.Context(), dueOf(c), s.now), connector.ErrConflict)
	_, err = s.Connection(t.Context(), c.ID)
	wantError(t, "Connection", err, connector.ErrNotFound)
	eventually(t, func() string {
		if listed, _, err := s.Connections(t.Context(), connector.Filter{Owner: s.owner}, "", 10); err != nil || len(listed) > 0 {
			return fmt.Sprintf("Connections: %+v, %v, want none", listed, err)
		}
		return ""
	})
}

func deletedConnectionCanBeCreatedAgain(t *testing.T, s storeCheck) {
	c := s.connection(t, "account")
	old := s.update(t, s.create(t, c), func(c *connector.Connection) { c.AccountName = "old" })
	s.delete(t, old)
	again := s.create(t, c)
	s.wantStored(t, again)
	s.wantAccount(t, "account", c.ID)
	_, err := s.tryUpdate(t, old, func(c *connector.Connection) { c.AccountName = "late" })
	wantError(t, "updating the deleted one", err, connector.ErrConflict)
	s.wantDue(t, s.now, keyOf(c.ID), c.RefreshAt)
}

func deleteNeedsTheRevision(t *testing.T, s storeCheck) {
	c := s.create(t, s.connection(t, "account"))
	for _, revision := range []int64{0, 2} {
		other := c
		other.Revision = revision
		wantError(t, fmt.Sprintf("deleting revision %d", revision), s.tryDelete(t, other), connector.ErrConflict)
	}
	s.wantStored(t, c)
	s.wantAccount(t, "account", c.ID)
}
