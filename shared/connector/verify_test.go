package connector_test

import (
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func TestService_Verify(t *testing.T) {
	t.Parallel()

	// A connection that works after all is active and due again.
	t.Run("recovers_a_connection_that_works", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "tiktok")
		b.clock.Advance(time.Minute)
		b.deauthorize(t, c.ID)
		b.clock.Advance(2 * 24 * time.Hour)
		b.wantSwept(t, "marked needs_reauth")
		b.clock.Advance(-2 * 24 * time.Hour)
		if _, err := b.Verify(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		b.wantSwept(t, "verified", connector.Refreshed)
		if n := len(b.published(connector.EventRecovered)); n != 1 {
			t.Errorf("%d events %q, want one", n, connector.EventRecovered)
		}
	})

	// What the platform said of former credentials is not recorded of those that another
	// person's consent brought meanwhile.
	t.Run("consent_of_another_person_meanwhile", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		person := b.sandbox.People("facebook")[0]
		colleague := sandbox.Person{ID: "100000000000077", Name: "Sandbox Colleague", Pages: person.Pages[:1]}
		b.sandbox.AddPerson("facebook", colleague)
		link := connector.LinkRequest{Platform: "facebook", Owner: "acme"}
		first, err := b.Callback(t.Context(), b.consentedTo(t, link, sandbox.Choice{Account: colleague.ID}))
		if err != nil {
			t.Fatal(err)
		}
		id := first.Connections[0].ID
		verifying := b.process(beforeCall("Store.Update", 1, func() {
			choice := sandbox.Choice{Account: person.ID, Pages: []string{person.Pages[0].ID}}
			if _, err := b.Callback(t.Context(), b.consentedTo(t, link, choice)); err != nil {
				t.Error(err)
			}
		}))
		if _, err := verifying.Verify(t.Context(), id); err != nil {
			t.Error(err)
		}
		if c := b.connection(t, id); c.UserID != person.ID {
			t.Errorf("the connection is one of %q, want %q", c.UserID, person.ID)
		}
	})

	// An access token that died before its time is replaced by a refresh.
	t.Run("refreshes_a_token_that_died_early", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.sandbox.Expire(sandbox.YouTube)
		b.clock.Advance(time.Second)
		v, err := b.Verify(t.Context(), c.ID)
		if err != nil || !v.VerifiedAt.Equal(b.clock.Now()) || v.AccountID != c.AccountID {
			t.Errorf("got %+v, %v", v, err)
		}
		if n := b.refreshes("youtube"); n != 1 {
			t.Errorf("%d refreshes, want one", n)
		}
		b.wantActive(t, c.ID)
	})
}
