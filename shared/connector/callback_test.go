package connector_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

func TestService_Callback(t *testing.T) {
	t.Parallel()

	// No code is redeemed whose grant could not be stored any more (I4).
	t.Run("no_exchange_with_too_little_time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "twitter")
		ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
		defer cancel()
		if _, err := b.Callback(ctx, request); !errors.Is(err, connector.PlatformUnavailable) {
			t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
		}
		if calls := b.sandbox.Calls("twitter", "token"); len(calls) != 0 {
			t.Errorf("%d exchanges with 14 s left", len(calls))
		}
	})

	// (I4)
	t.Run("exchange_leaves_time_to_store", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		timed := b.timed("twitter")
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		if _, err := b.Callback(ctx, b.consented(t, "twitter")); err != nil || timed.limit <= 0 || timed.limit > 24*time.Second {
			t.Errorf("the platform has %v of 29 s for a code, want 24 s (%v)", timed.limit, err)
		}
	})

	// (I4)
	t.Run("credential_store_is_not_prepared", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "twitter")
		b.hook(connectortest.Fail(errFlaky, "Sealer.Prepare"))
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.Internal) {
			t.Errorf("got %v, want %s", err, connector.Internal)
		}
		if calls := b.sandbox.Calls("twitter", "token"); len(calls) != 0 {
			t.Errorf("%d exchanges", len(calls))
		}
	})

	// The browser may go away once the code is redeemed (I4).
	t.Run("exchange_outlasts_its_browser", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "twitter")
		ctx, leave := context.WithCancel(t.Context())
		b.hook(func(ctx context.Context, call connectortest.Call, next func() error) error {
			if call.Name == "Store.PutTicket" {
				leave()
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return next()
		})
		if _, err := b.Callback(ctx, request); err != nil {
			t.Error(err)
		}
		if n := len(b.connected(t)); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
	})

	// A state is taken once, and its browser gets the first answer again (I11).
	t.Run("state_replayed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "youtube")
		first, err := b.Callback(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Callback(t.Context(), request)
		if err != nil || len(again.Connections) != 1 || again.Connections[0].ID != first.Connections[0].ID {
			t.Errorf("got %+v, %v; want the first answer", again, err)
		}
		if n := b.sandbox.Count("youtube", "token/authorization_code"); n != 1 {
			t.Errorf("the code was redeemed %d times", n)
		}
	})

	// A state is good only in the browser that began it, and another browser does
	// not take it (I11).
	t.Run("state_from_another_browser", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "youtube")
		for _, cookie := range []connector.Secret{{}, connector.NewSecret("another-00000000000000000000000000000000000")} {
			forged := request
			forged.Browser = func(string) connector.Secret { return cookie }
			if _, err := b.Callback(t.Context(), forged); !errors.Is(err, connector.StateInvalid) {
				t.Errorf("got %v, want %s", err, connector.StateInvalid)
			}
		}
		if _, err := b.Callback(t.Context(), request); err != nil {
			t.Errorf("in the right browser: %v", err)
		}
	})

	// (I11)
	t.Run("state_expired", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := b.consented(t, "youtube")
		b.clock.Advance(10 * time.Minute)
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.StateInvalid) {
			t.Errorf("got %v, want %s", err, connector.StateInvalid)
		}
	})

	// A link may expire while the person reads the consent page, and not before the
	// person opens it (I11).
	t.Run("link_expired_on_the_consent_page", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ExpiresIn: 5 * time.Minute})
		b.clock.Advance(4 * time.Minute)
		request, err := b.consent(t.Context(), "youtube", link, allowed)
		if err != nil {
			t.Fatal(err)
		}
		b.clock.Advance(4 * time.Minute)
		if _, err := b.consent(t.Context(), "youtube", link, allowed); !errors.Is(err, connector.LinkGone) {
			t.Errorf("opened too late: %v, want %s", err, connector.LinkGone)
		}
		if _, err := b.Callback(t.Context(), request); err != nil {
			t.Errorf("opened in time: %v", err)
		}
	})

	// One link, two tabs: the link is spent by the first. The second must not revoke
	// the grant of the connection that results (I11).
	t.Run("second_tab_on_its_link", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme"})
		var requests []connector.CallbackRequest
		for range 2 {
			request, err := b.consent(t.Context(), "youtube", link, allowed)
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, request)
		}
		result, err := b.Callback(t.Context(), requests[0])
		if err != nil {
			t.Fatal(err)
		}
		second, err := b.Callback(t.Context(), requests[1])
		if err != nil || len(second.Connections) != 1 || second.Connections[0].ID != result.Connections[0].ID {
			t.Errorf("the second tab: %+v, %v; want the connection of the first", second, err)
		}
		if _, err := b.Verify(t.Context(), result.Connections[0].ID); err != nil {
			t.Errorf("the connection of the first tab: %v", err)
		}
	})

	// The index of persons may not show the connection of the first tab yet. To
	// revoke the grant of the second would end it, on platforms that end all grants
	// of a person. The record of the first consent tells that it is the same person's
	// (I10).
	for _, name := range []connector.Name{"facebook", "youtube", "tiktok"} {
		t.Run("second_tab_while_the_index_lags/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			link := b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme"})
			var requests []connector.CallbackRequest
			for range 2 {
				request, err := b.consent(t.Context(), name, link, allowed)
				if err != nil {
					t.Fatal(err)
				}
				requests = append(requests, request)
			}
			result, err := b.Callback(t.Context(), requests[0])
			if err != nil {
				t.Fatal(err)
			}
			b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				if call.Name == "Store.UserConnections" {
					return nil
				}
				return next()
			})
			if second, err := b.Callback(t.Context(), requests[1]); err != nil || second.Accounts != result.Accounts {
				t.Errorf("the second tab: %+v, %v; want the connections of the first", second, err)
			}
			b.hook(nil)
			b.clock.Advance(15 * time.Minute)
			b.sweep(t)
			if names := b.vault.Names("pending/"); len(names) > 0 || b.revocations(name) > 0 {
				t.Errorf("%d revocations, and in the vault %v; want none", b.revocations(name), names)
			}
			if _, err := b.Verify(t.Context(), result.Connections[0].ID); err != nil {
				t.Errorf("the connection of the first tab: %v", err)
			}
		})
	}

	// A grant for another account than the one to be re-authorized is revoked, and
	// the connection remains as it was.
	t.Run("another_account", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		request := b.consentedTo(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID},
			sandbox.Choice{Account: b.sandbox.People("youtube")[1].ID})
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.AccountMismatch) {
			t.Errorf("got %v, want %s", err, connector.AccountMismatch)
		}
		if n := b.revocations("youtube"); n != 1 {
			t.Errorf("%d revocations, want one", n)
		}
		if after := b.connection(t, c.ID); after.Revision != c.Revision {
			t.Errorf("the connection moved: %+v", after)
		}
		if _, err := b.Verify(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
	})
}
