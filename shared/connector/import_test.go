package connector_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestService_Import(t *testing.T) {
	t.Parallel()

	for _, name := range []connector.Name{"twitter", "tiktok"} {
		t.Run("unknown_scopes_are_not_missing/"+string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			brought := b.connect(t, name)
			imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "other", Credentials: b.elsewhere(t, name, allowed)})
			if err != nil {
				t.Fatal(err)
			}
			c := imported.Connections[0]
			if len(c.MissingScopes) > 0 || len(imported.Warnings) == 0 {
				t.Errorf("missing %q, warnings %q", c.MissingScopes, imported.Warnings)
			}
			if c, err = b.Refresh(t.Context(), c.ID); err != nil || !slices.Equal(c.Scopes, brought.Scopes) {
				t.Errorf("after a refresh the scopes are %q, %v; want %q", c.Scopes, err, brought.Scopes)
			}
		})
	}

	t.Run("unverified_account_is_known_later", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		brought := b.connect(t, "youtube")
		request := connector.ImportRequest{Platform: "youtube", Owner: "other", AccountName: "my channel", Credentials: b.full(t, brought.ID), SkipVerify: true}
		imported, err := b.Import(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		c := imported.Connections[0]
		if c.AccountName != "my channel" || c.AccountID == brought.AccountID {
			t.Errorf("got %s %q without asking the platform", c.AccountID, c.AccountName)
		}
		again, err := b.Import(t.Context(), request)
		if err != nil || again.Connections[0].ID != c.ID {
			t.Errorf("the same credentials again: %v, %v", again.Connections, err)
		}
		b.clock.Advance(time.Second)
		if v, err := b.Verify(t.Context(), c.ID); err != nil || v.AccountID != brought.AccountID {
			t.Fatalf("got %+v, %v", v, err)
		}
		found, err := b.Token(t.Context(), connector.TokenRequest{Owner: "other", Platform: "youtube", AccountID: brought.AccountID})
		if err != nil || found.Connection.ID != c.ID || found.Connection.AccountName != brought.AccountName {
			t.Errorf("got %s %q, %v", found.Connection.ID, found.Connection.AccountName, err)
		}
	})

	t.Run("manual_mode_needs_no_credentials", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		live := b.sandbox.AppOf("tiktok")
		if _, err := b.PutApp(t.Context(), "tiktok", connector.App{Mode: connector.ByHand}); err != nil {
			t.Fatal(err)
		}
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "tiktok", Owner: "acme", AccountName: "our shop"})
		if err != nil {
			t.Fatal(err)
		}
		c := imported.Connections[0]
		if c.Status != connector.Manual {
			t.Errorf("status %s", c.Status)
		}
		if _, err := b.token(t, c.ID); !errors.Is(err, connector.ManualMode) {
			t.Errorf("got %v, want ManualMode", err)
		}
		if _, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "tiktok", Owner: "acme"}); !errors.Is(err, connector.ManualMode) {
			t.Errorf("a link: %v, want ManualMode", err)
		}

		// The platform approved the app: the same connection gets credentials.
		b.put(t, "tiktok", live.ClientSecret)
		request := b.consentedTo(t, connector.LinkRequest{Platform: "tiktok", Owner: "acme", ConnectionID: c.ID}, allowed)
		result, err := b.Callback(t.Context(), request)
		if err != nil || result.Connections[0].ID != c.ID || result.Connections[0].Status != connector.Active {
			t.Fatalf("got %+v, %v", result.Connections, err)
		}
		if _, err := b.token(t, c.ID); err != nil {
			t.Error(err)
		}
	})

	t.Run("refused_credentials_are_not_stored", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		for name, credentials := range map[connector.Name]connector.Fields{
			"youtube": {"client_id": connector.NewSecret("c"), "client_secret": connector.NewSecret("s"), "access_token": connector.NewSecret("a"), "refresh_token": connector.NewSecret("r"), "token_expiry": connector.NewSecret("2026-11-23T13:00:00Z")},
			"twitter": {"api_key": connector.NewSecret("k"), "api_secret": connector.NewSecret("s"), "access_token": connector.NewSecret("1-a"), "access_token_secret": connector.NewSecret("t")},
		} {
			if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "acme", Credentials: credentials}); err == nil {
				t.Errorf("%s: invented credentials were accepted", name)
			}
		}
		page, _, err := b.Connections(t.Context(), connector.Filter{}, "", 100)
		if err != nil || len(page) > 0 {
			t.Errorf("stored: %v, %v", page, err)
		}
		if names := b.vault.Names("connections/"); len(names) > 0 {
			t.Errorf("in the vault: %v", names)
		}
	})

	// (I4)
	t.Run("exchange_leaves_time_to_store", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		request := connector.ImportRequest{Platform: "twitter", Owner: "acme", Credentials: b.elsewhere(t, "twitter", allowed)}
		timed := b.timed("twitter")
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		if _, err := b.Import(ctx, request); err != nil || timed.limit <= 0 || timed.limit > 24*time.Second {
			t.Errorf("the platform has %v of 29 s for an import, want 24 s (%v)", timed.limit, err)
		}
	})
}
