package connector_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// confirmationLife is a promise: how long a consent may be confirmed.
const confirmationLife = 10 * time.Minute

// toConfirm takes the owner "acme" through a consent that has to be confirmed.
func (b *bench) toConfirm(t *testing.T, name connector.Name, choice sandbox.Choice) connector.Secret {
	t.Helper()
	return b.toConfirmFor(t, connector.LinkRequest{Platform: name, Owner: "acme"}, choice)
}

func (b *bench) toConfirmFor(t *testing.T, r connector.LinkRequest, choice sandbox.Choice) connector.Secret {
	t.Helper()
	r.ReturnURL, r.Confirm = returnURL, true
	result, err := b.Callback(t.Context(), b.consentedTo(t, r, choice))
	if err != nil {
		t.Fatal(err)
	}
	if result.Confirmation.Empty() || len(result.Connections) > 0 || result.ReturnURL != returnURL {
		t.Fatalf("a consent to be confirmed: %+v", result)
	}
	return result.Confirmation
}

func (b *bench) wantNothingToConfirm(t *testing.T, what string, confirmation connector.Secret, owner string) {
	t.Helper()
	confirmed, err := b.Confirm(t.Context(), confirmation, owner)
	if !errors.Is(err, connector.ConnectionNotFound) || confirmed.Connections != nil {
		t.Errorf("%s: %v, %v, want %s", what, confirmed, err, connector.ConnectionNotFound)
	}
}

// A consent is no connection before its owner confirms it (I12).
func TestService_Confirm(t *testing.T) {
	t.Parallel()

	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run("creates_the_connections/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			choice := sandbox.Choice{}
			want := 1
			if name == "facebook" {
				choice.Pages, want = []string{"200000000000001", "200000000000002"}, 2
			}
			consented := b.clock.Now()
			confirmation := b.toConfirm(t, name, choice)
			if _, err := b.Token(t.Context(), connector.TokenRequest{Owner: "acme", Platform: name}); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("token before the confirmation: %v", err)
			}
			if len(b.connected(t)) > 0 || len(b.events.All()) > 0 {
				t.Error("something is connected before the confirmation")
			}

			b.clock.Advance(confirmationLife - time.Second)
			confirmed, err := b.Confirm(t.Context(), confirmation, "acme")
			if err != nil || len(confirmed.Connections) != want {
				t.Fatalf("confirmed %d, %v", len(confirmed.Connections), err)
			}
			for _, c := range confirmed.Connections {
				if !c.VerifiedAt.Equal(b.clock.Now()) || !c.ConsentedAt.Equal(consented) {
					t.Errorf("verified %v and consented %v, want now and %v", c.VerifiedAt, c.ConsentedAt, consented)
				}
				if token, err := b.token(t, c.ID); err != nil || token.AccessToken.Empty() {
					t.Errorf("token: %v", err)
				}
			}
			if events := b.events.All(); len(events) < want || events[0].Type != connector.EventConnected {
				t.Errorf("events: %+v", events)
			}
			b.wantNothingToConfirm(t, "again", confirmation, "acme")
			b.wantNothingPending(t)

			b.clock.Advance(time.Hour)
			if results := b.sweep(t); slices.Contains(results, connector.Expired) {
				t.Errorf("the sweep found %v", results)
			}
			if n := b.revocations(name); n > 0 {
				t.Errorf("%d revocations of a consent that was confirmed", n)
			}
		})
	}

	t.Run("one_of_fifty_callers_succeeds", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		confirmation := b.toConfirm(t, "youtube", allowed)
		var mu sync.Mutex
		var succeeded int
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := b.Confirm(t.Context(), confirmation, "acme")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					succeeded++
				} else if !errors.Is(err, connector.ConnectionNotFound) {
					t.Errorf("another caller got %v", err)
				}
			})
		}
		all.Wait()
		if n := len(b.connected(t)); succeeded != 1 || n != 1 {
			t.Errorf("%d callers succeeded, %d connections", succeeded, n)
		}
	})

	t.Run("reauthorizes", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		request := connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID}
		confirmation := b.toConfirmFor(t, request, allowed)
		if fresh := b.connection(t, c.ID); fresh.Revision != c.Revision {
			t.Errorf("before the confirmation the connection moved: %+v", fresh)
		}
		confirmed, err := b.Confirm(t.Context(), confirmation, "acme")
		if err != nil || len(confirmed.Connections) != 1 || confirmed.Connections[0].ID != c.ID || confirmed.Connections[0].ConsentID == c.ConsentID {
			t.Errorf("confirmed: %+v, %v", confirmed, err)
		}

		// Disconnected between the consent and its confirmation (I10).
		confirmation = b.toConfirmFor(t, request, allowed)
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Fatal(err)
		}
		b.wantNothingToConfirm(t, "of a connection that is gone", confirmation, "acme")
		if len(b.connected(t)) > 0 {
			t.Error("a disconnected connection is back")
		}
	})

	// Where the connector itself failed, the confirmation can be sent again.
	for _, call := range []string{"Store.Ticket", "Store.FindAccount", "Store.Create", "Vault.Get"} {
		t.Run("failed_and_is_sent_again/"+call, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			confirmation := b.toConfirm(t, "youtube", allowed)
			b.hook(failAt(call, 1))
			ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
			defer cancel()
			if _, err := b.Confirm(ctx, confirmation, "acme"); !errors.Is(err, connector.Internal) {
				t.Fatalf("with %s failing: %v", call, err)
			}
			if _, err := b.Confirm(ctx, confirmation, "acme"); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}

	// One link, two tabs: the second consent finds the link spent, and does not end
	// the consent of the first, which waits for its confirmation.
	t.Run("second_tab_on_its_link", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true})
		var confirmation connector.Secret
		var requests []connector.CallbackRequest
		for range 2 {
			request, err := b.consent(t.Context(), "youtube", link, allowed)
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, request)
		}
		for i, request := range requests {
			result, err := b.Callback(t.Context(), request)
			if i == 0 {
				confirmation = result.Confirmation
			} else if !errors.Is(err, connector.LinkGone) {
				t.Errorf("the second consent: %v", err)
			}
		}
		confirmed, err := b.Confirm(t.Context(), confirmation, "acme")
		if err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(confirmationEnd)
		b.sweep(t)
		if n := b.revocations("youtube"); n != 0 {
			t.Errorf("the grant of the same person was revoked %d times", n)
		}
		if _, err := b.Verify(t.Context(), confirmed.Connections[0].ID); err != nil {
			t.Errorf("the confirmed connection: %v", err)
		}
	})
}

// All confirmations that cannot be used look the same, and do not harm those
// that can.
func TestService_Confirm_Refuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		spoil func(b *bench, confirmation connector.Secret) (connector.Secret, string)
		stays bool
	}{
		{"unknown", func(*bench, connector.Secret) (connector.Secret, string) {
			return connector.NewSecret("unknown-0000000000000000000000000000000000x"), "acme"
		}, true},
		{"malformed", func(*bench, connector.Secret) (connector.Secret, string) {
			return connector.NewSecret("pending#x"), "acme"
		}, true},
		{"another_owner", func(_ *bench, c connector.Secret) (connector.Secret, string) { return c, "globex" }, true},
		{"another_owner_by_case", func(_ *bench, c connector.Secret) (connector.Secret, string) { return c, "Acme" }, true},
		{"one_second_late", func(b *bench, c connector.Secret) (connector.Secret, string) {
			b.clock.Advance(confirmationLife + time.Second)
			return c, "acme"
		}, false},
		{"at_the_very_end", func(b *bench, c connector.Secret) (connector.Secret, string) {
			b.clock.Advance(confirmationLife)
			return c, "acme"
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			confirmation := b.toConfirm(t, "youtube", allowed)
			shown, owner := row.spoil(b, confirmation)
			_, err := b.Confirm(t.Context(), shown, owner)
			_, unknown := b.Confirm(t.Context(), connector.NewSecret("unknown-0000000000000000000000000000000000y"), "acme")
			if err == nil || err.Error() != unknown.Error() {
				t.Errorf("refused with %v, an unknown one with %v", err, unknown)
			}
			if len(b.connected(t)) > 0 {
				t.Error("connected all the same")
			}
			if _, err := b.Confirm(t.Context(), confirmation, "acme"); row.stays != (err == nil) {
				t.Errorf("the right confirmation afterwards: %v", err)
			}
		})
	}

	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		confirmation := b.toConfirm(t, "youtube", allowed)
		for _, row := range []struct {
			confirmation connector.Secret
			owner, field string
		}{{connector.Secret{}, "acme", "confirmation"}, {confirmation, "", "owner"}, {confirmation, "a\nb", "owner"}} {
			_, err := b.Confirm(t.Context(), row.confirmation, row.owner)
			if !errors.Is(err, connector.InvalidRequest) || !strings.Contains(connector.AsError(err).Message, row.field) {
				t.Errorf("owner %q: %v, want the name of %s", row.owner, err, row.field)
			}
		}
	})

	t.Run("no_return_url", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		_, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "youtube", Owner: "acme", Confirm: true})
		if e := connector.AsError(err); e == nil || e.Code != connector.InvalidRequest || e.Message[:11] != "return_url:" {
			t.Errorf("minting: %v", err)
		}

		// The origin was taken off the list while the person consented.
		request := b.consentedTo(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed)
		b.ReturnOrigins = nil
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.InvalidRequest) {
			t.Errorf("callback: %v", err)
		}
		if n := b.sandbox.Count("youtube", "token/authorization_code"); n > 0 {
			t.Errorf("the code was redeemed %d times", n)
		}
	})

	t.Run("another_account", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		request := b.consentedTo(t,
			connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID, ReturnURL: returnURL, Confirm: true},
			sandbox.Choice{Account: b.sandbox.People("youtube")[1].ID})
		result, err := b.Callback(t.Context(), request)
		if !errors.Is(err, connector.AccountMismatch) || !result.Confirmation.Empty() {
			t.Errorf("callback: %v", err)
		}
		b.wantNothingPending(t)
	})
}
