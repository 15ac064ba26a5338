package connector_test

import (
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// fields returns the credentials of a connection as a person would import them.
func (b *bench) fields(t *testing.T, id connector.ID) connector.Fields {
	t.Helper()
	fields := b.full(t, id)
	delete(fields, "app_id")
	delete(fields, "app_secret")
	return fields
}

// A Page that was imported is reached by the notices of the person whose token it
// is, as soon as Facebook has said who that is: when it is imported, verified,
// or checked.
func TestPerson_OfAnImport(t *testing.T) {
	t.Parallel()
	person := func(b *bench) string { return b.sandbox.People("facebook")[0].ID }
	silent := sandbox.Fault{Platform: "facebook", Endpoint: "debug_token", Kind: sandbox.Outage, Times: -1}
	verify := func(t *testing.T, b *bench, id connector.ID) {
		if _, err := b.Verify(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	check := func(t *testing.T, b *bench, id connector.ID) {
		b.clock.Advance(8 * 24 * time.Hour)
		b.sweep(t)
	}
	for _, row := range []struct {
		name       string
		unverified bool
		faulty     bool // Facebook does not say who consented, at first
		then       func(t *testing.T, b *bench, id connector.ID)
		known      bool
	}{
		{name: "unverified", unverified: true},
		{name: "unverified_then_verified", unverified: true, then: verify, known: true},
		{name: "unverified_then_checked", unverified: true, then: check, known: true},
		{name: "verified_at_once", known: true},
		{name: "verified_without_an_answer", faulty: true},
		{name: "verified_without_an_answer_then_verified", faulty: true, then: verify, known: true},
		{name: "verified_without_an_answer_then_checked", faulty: true, then: check, known: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "facebook")
			fields := b.fields(t, c.ID)
			if row.faulty {
				b.sandbox.Fault(silent)
			}
			imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "beta", Credentials: fields, SkipVerify: row.unverified})
			if err != nil {
				t.Fatal(err)
			}
			id := imported.Connections[0].ID
			b.sandbox.ClearFaults()
			if row.then != nil {
				row.then(t, b, id)
			}
			got := b.connection(t, id)
			if known := got.UserID == person(b); known != row.known || got.UserID == got.AccountID {
				t.Errorf("the person is %q, account %q; known: %v, want %v", got.UserID, got.AccountID, known, row.known)
			}
			b.clock.Advance(time.Minute)
			if _, err := b.TakeNotice(t.Context(), "facebook", "deauthorize", b.signedRequest(c)); err != nil {
				t.Fatal(err)
			}
			if reached := b.connection(t, id).Status == connector.NeedsReauth; reached != row.known {
				t.Errorf("the notice reached it: %v, want %v", reached, row.known)
			}
		})
	}

	// A record of the previous release, which took the Page for the person.
	t.Run("previous_release", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		b.change(t, c.ID, func(c *connector.Connection) { c.UserID = c.AccountID })
		verify(t, b, c.ID)
		if got := b.connection(t, c.ID).UserID; got != person(b) {
			t.Errorf("the person is %q, want %q", got, person(b))
		}
	})

	// An import over a connection of another person does not prove whose it is, and
	// its verification does.
	t.Run("imported_over_another_persons", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		fields := b.fields(t, c.ID)
		b.change(t, c.ID, func(c *connector.Connection) { c.UserID = "100000000000099" })
		if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "facebook", Owner: "acme", Credentials: fields, SkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		verify(t, b, c.ID)
		if got := b.connection(t, c.ID).UserID; got != person(b) {
			t.Errorf("the person is %q, want %q", got, person(b))
		}
	})
}
