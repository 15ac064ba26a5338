package connector_test

import (
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

func TestService_Disconnect(t *testing.T) {
	t.Parallel()

	// However often a connection is disconnected, and however closely, its grant is
	// revoked (I10).
	for name, purge := range map[string]bool{"twice_at_once": false, "purged_twice_at_once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "tiktok")
			first := b.process(beforeCall("Events.Publish", 1, func() {
				if err := b.Disconnect(t.Context(), id, purge); err != nil {
					t.Errorf("at once: %v", err)
				}
			}))
			if err := first.Disconnect(t.Context(), id, purge); err != nil {
				t.Error(err)
			}
			b.wantNoGrant(t, "afterwards", "tiktok")
			b.wantNoSecret(t, "afterwards", id)
		})
	}
	t.Run("many_times_in_an_outage", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage, Times: -1})
		for range 30 {
			if err := b.Disconnect(t.Context(), id, false); err != nil {
				t.Error(err)
			}
		}
		b.sandbox.ClearFaults()
		b.clock.Advance(time.Hour)
		b.sweep(t)
		b.wantNoGrant(t, "after the outage", "tiktok")
		b.wantNoSecret(t, "after the outage", id)
	})

	// Most platforms end every grant that a person gave to the app, so that only the
	// last connection of the person is revoked.
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run("another_connection_of_the_person_survives/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			first := b.connect(t, name)
			choice := sandbox.Choice{}
			if name == "facebook" {
				choice.Pages = []string{first.AccountID}
				for _, c := range b.connected(t) {
					if c.ID != first.ID {
						if err := b.Disconnect(t.Context(), c.ID, true); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			result, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "other"}, choice))
			if err != nil {
				t.Fatal(err)
			}
			second := result.Connections[0]
			if err := b.Disconnect(t.Context(), first.ID, false); err != nil {
				t.Error(err)
			}
			if n := b.revocations(name); n != 0 {
				t.Errorf("%d revocations with a connection left", n)
			}
			if _, err := b.Verify(t.Context(), second.ID); err != nil {
				t.Errorf("the other connection: %v", err)
			}
			if err := b.Disconnect(t.Context(), second.ID, false); err != nil {
				t.Error(err)
			}
			if n := b.revocations(name); n == 0 {
				t.Error("the last connection was not revoked")
			}
		})
	}

	// A platform that never answers does not preserve a secret (I13).
	t.Run("outage_of_a_day", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "tiktok")
		b.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "revoke", Kind: sandbox.Outage, Times: -1})
		if err := b.Disconnect(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		for range 24 {
			b.clock.Advance(time.Hour)
			b.sweep(t)
		}
		b.wantNoSecret(t, "after a day", id)
		b.wantSwept(t, "afterwards")
	})

	// The process crashes after it marked the connection. The sweep deletes the
	// secret, which no record would name a week later, and revokes a grant that was
	// not refused before (I13).
	for name, refused := range map[string]bool{"crashed": false, "crashed_with_a_refused_grant": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, "twitter")
			if refused {
				b.revokedByPlatform(t, "twitter", id)
			}
			crashing := b.process(crashAt("Events.Publish", 1))
			wantCrash(t, func() { crashing.Disconnect(t.Context(), id, false) })
			b.clock.Advance(time.Hour)
			b.sweep(t)
			b.wantNoSecret(t, "after the sweep", id)
			if asked := b.revocations("twitter") > 0; asked == refused {
				t.Errorf("the platform was asked to revoke: %v", asked)
			}
			b.clock.Advance(time.Hour)
			b.wantNothingDue(t, "after the sweep")
		})
	}

	// A data deletion that was begun is not undone by an operator who disconnects.
	t.Run("finishes_a_data_deletion", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		onePage := sandbox.Choice{Account: b.sandbox.People("facebook")[1].ID}
		result, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, onePage))
		if err != nil {
			t.Fatal(err)
		}
		c := result.Connections[0]
		b.clock.Advance(time.Minute)
		crashing := b.process(afterCall("Store.Update", 1, func() { panic(crash{}) }))
		wantCrash(t, func() { crashing.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c)) })
		if marked := b.connection(t, c.ID); marked.Status != connector.Disconnected {
			t.Fatalf("the connection is %s", marked.Status)
		}
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Error(err)
		}
		if _, err := b.Connection(t.Context(), c.ID); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("the record is still there: %v", err)
		}
		b.wantNoSecret(t, "afterwards", c.ID)
	})

	// Sealed credentials are revoked as well, and no secret is left.
	for name, purge := range map[string]bool{"of_sealed_credentials": false, "purge_of_sealed_credentials": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.hook(connectortest.Fail(errFlaky, "Vault.Put"))
			id := b.connect(t, "tiktok").ID
			if err := b.Disconnect(t.Context(), id, purge); err != nil {
				t.Error(err)
			}
			b.wantNoGrant(t, "afterwards", "tiktok")
			b.hook(nil)
			b.clock.Advance(time.Hour)
			b.sweep(t)
			b.wantNoSecret(t, "afterwards", id)
		})
	}
}
