package connector_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestImport_UnknownScopesAreNotMissing(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"twitter", "tiktok"} {
		b := newBench(t)
		brought := b.connect(t, name)
		token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: brought.ID, Full: true})
		if err != nil {
			t.Fatal(err)
		}
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "other", Credentials: token.Full})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := imported.Connections[0]
		if len(c.MissingScopes) > 0 || len(imported.Warnings) == 0 {
			t.Errorf("%s: missing %q, warnings %q", name, c.MissingScopes, imported.Warnings)
		}
		if c, err = b.Refresh(t.Context(), c.ID); err != nil || !slices.Equal(c.Scopes, brought.Scopes) {
			t.Errorf("%s: after a refresh the scopes are %q, %v; want %q", name, c.Scopes, err, brought.Scopes)
		}
	}
}

func TestImport_WithoutVerifyingLearnsTheAccountLater(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	brought := b.connect(t, "youtube")
	token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: brought.ID, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	request := connector.ImportRequest{Platform: "youtube", Owner: "other", AccountName: "my channel", Credentials: token.Full, SkipVerify: true}
	imported, err := b.Import(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	c := imported.Connections[0]
	if c.AccountName != "my channel" || c.AccountID == brought.AccountID {
		t.Errorf("got %s %q without asking anybody", c.AccountID, c.AccountName)
	}
	again, err := b.Import(t.Context(), request)
	if err != nil || again.Connections[0].ID != c.ID {
		t.Errorf("the same credentials again: %v, %v", again.Connections, err)
	}
	b.clock.Advance(time.Second)
	if v, err := b.Verify(t.Context(), c.ID); err != nil || v.Account.ID != brought.AccountID {
		t.Fatalf("got %+v, %v", v, err)
	}
	found, err := b.Token(t.Context(), connector.TokenRequest{Owner: "other", Platform: "youtube", AccountID: brought.AccountID})
	if err != nil || found.Connection.ID != c.ID || found.Connection.AccountName != brought.AccountName {
		t.Errorf("got %s %q, %v", found.Connection.ID, found.Connection.AccountName, err)
	}
}

func TestConnections_SayWhenThePlatformWasAsked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	connected := b.connect(t, "youtube")
	if at := b.clock.Now(); !connected.VerifiedAt.Equal(at) {
		t.Errorf("after a consent: verified %v, want %v", connected.VerifiedAt, at)
	}
	token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: connected.ID, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		skip bool
	}{{"verified", false}, {"not verified", true}} {
		b.clock.Advance(time.Second)
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: test.name, Credentials: token.Full, SkipVerify: test.skip})
		if err != nil {
			t.Fatal(err)
		}
		var want time.Time
		if !test.skip {
			want = b.clock.Now()
		}
		if got := imported.Connections[0].VerifiedAt; !got.Equal(want) {
			t.Errorf("an import that was %s: verified %v, want %v", test.name, got, want)
		}
	}
}

func TestImport_ManualModeNeedsNoCredentials(t *testing.T) {
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

	// The review is over: the same connection becomes a real one.
	app := connector.App{ClientID: live.ClientID, ClientSecret: connector.NewSecret(live.ClientSecret)}
	if _, err := b.PutApp(t.Context(), "tiktok", app); err != nil {
		t.Fatal(err)
	}
	request, err := b.consent(t.Context(), "tiktok", b.mint(t, connector.LinkRequest{Platform: "tiktok", Owner: "acme", ConnectionID: c.ID}), allowed)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil || result.Connections[0].ID != c.ID || result.Connections[0].Status != connector.Active {
		t.Fatalf("got %+v, %v", result.Connections, err)
	}
	if _, err := b.token(t, c.ID); err != nil {
		t.Error(err)
	}
}

func TestImport_NothingIsStoredOfWhatDoesNotWork(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, credentials := range map[connector.Name]connector.Fields{
		"youtube": {"client_id": connector.NewSecret("c"), "client_secret": connector.NewSecret("s"), "access_token": connector.NewSecret("a"), "refresh_token": connector.NewSecret("r"), "token_expiry": connector.NewSecret("2026-11-23T13:00:00Z")},
		"twitter": {"api_key": connector.NewSecret("k"), "api_secret": connector.NewSecret("s"), "access_token": connector.NewSecret("1-a"), "access_token_secret": connector.NewSecret("t")},
	} {
		if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "acme", Credentials: credentials}); err == nil {
			t.Errorf("%s: invented credentials were taken", name)
		}
	}
	page, _, err := b.Connections(t.Context(), connector.Filter{}, "", 100)
	if err != nil || len(page) > 0 {
		t.Errorf("stored: %v, %v", page, err)
	}
}
