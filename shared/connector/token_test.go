package connector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/sandbox"
)

func TestService_Token(t *testing.T) {
	t.Parallel()

	t.Run("fresh_token_needs_no_platform", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		for range 3 {
			token, err := b.token(t, c.ID)
			if err != nil || token.AccessToken.Empty() || token.Degraded {
				t.Fatalf("got %+v, %v", token, err)
			}
		}
		if n := b.refreshes("youtube"); n != 0 {
			t.Errorf("%d refreshes of a fresh token, want none", n)
		}
	})

	// (I3)
	for _, name := range []connector.Name{"twitter", "tiktok", "youtube"} {
		t.Run("fifty_callers_are_one_refresh/"+string(name), func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, name)
			b.Sleep = connector.Sleep // a caller that waits must not move the holder's clock
			var all sync.WaitGroup
			tokens := make([]string, 50)
			for i := range tokens {
				all.Go(func() {
					token, err := b.token(t, id)
					if err != nil {
						t.Error(err)
					}
					tokens[i] = token.AccessToken.Reveal()
				})
			}
			all.Wait()
			if n := b.refreshes(name); n != 1 {
				t.Errorf("%d calls of the token endpoint, want 1", n)
			}
			if len(slices.Compact(tokens)) != 1 {
				t.Error("the answers differ")
			}
		})
	}

	// A request that never reached the platform looks like a lost reply. The
	// refresh token is still good then (I9).
	t.Run("lost_request_recovers", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut, Times: 1})
		if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
			t.Fatalf("got %v, want PlatformUnavailable", err)
		}
		if _, err := b.token(t, id); err != nil {
			t.Errorf("once the platform answers: %v", err)
		}
	})

	// (I5, I9)
	t.Run("lost_reply_is_named", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) - time.Minute)
		b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut, Acts: true, Times: 1})

		for range 5 {
			token, err := b.token(t, c.ID)
			if err != nil || !token.Degraded {
				t.Fatalf("while the access token is alive: %+v, %v", token, err)
			}
			b.clock.Advance(5 * time.Second)
		}
		if n := b.refreshes("twitter"); n != 1 {
			t.Errorf("the refresh token was shown %d times, want once", n)
		}
		b.expire(t, c.ID)
		_, err := b.token(t, c.ID)
		if e := connector.AsError(err); !errors.Is(err, connector.ReauthorizationRequired) || e.Reason != "rotation_lost" {
			t.Errorf("got %v, want ReauthorizationRequired (rotation_lost)", err)
		}
		calls := b.refreshes("twitter")
		for range 3 {
			if _, err := b.token(t, c.ID); !errors.Is(err, connector.ReauthorizationRequired) {
				t.Errorf("got %v", err)
			}
		}
		if n := b.refreshes("twitter"); n != calls {
			t.Errorf("a dead grant was shown to the platform %d times more", n-calls)
		}
	})

	// (I5)
	for _, name := range []connector.Name{"youtube", "twitter", "tiktok"} {
		t.Run("revoked_grant_is_shown_once/"+string(name), func(t *testing.T) {
			t.Parallel()
			b, id := expired(t, name)
			b.sandbox.Kill(string(name), "", 0)
			for range 5 {
				if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
					t.Errorf("got %v, want ReauthorizationRequired", err)
				}
			}
			if n := b.refreshes(name); n != 1 {
				t.Errorf("the platform was asked %d times, want once", n)
			}
			if n := len(b.published(connector.EventReauth)); n != 1 {
				t.Errorf("%d events, want one", n)
			}
		})
	}

	// A check may tell the end of a token that was stored without one. From then on
	// callers are told (I6).
	t.Run("end_that_a_check_found", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "facebook")
		end := noon.Add(60 * 24 * time.Hour)
		wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform { return endingPlatform{p, end} })
		if _, err := b.Refresh(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if token, err := b.token(t, c.ID); err != nil || !token.ExpiresAt.Equal(end) {
			t.Errorf("callers are told %v, want %v (%v)", token.ExpiresAt, end, err)
		}
		b.clock.Advance(61 * 24 * time.Hour)
		if token, err := b.token(t, c.ID); err == nil {
			t.Errorf("an expired token is handed out, good until %v", token.ExpiresAt)
		}
	})
}

// endingPlatform is a platform whose checks tell when a token ends.
type endingPlatform struct {
	connector.Platform
	at time.Time
}

func (p endingPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	c, err := p.Platform.Refresh(ctx, app, c)
	c.ExpiresAt = p.at
	return c, err
}

func TestService_Token_MinTTL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		renewed   bool          // the token is from a refresh, not from the consent
		age       time.Duration // of a token that lives 7,200 seconds
		minTTL    time.Duration
		refreshes int
	}{
		{"enough_left", false, time.Hour, time.Hour - time.Minute, 0},
		{"too_little_left", false, time.Hour, time.Hour + time.Minute, 1},
		{"more_than_the_consent_gave_and_young", false, time.Second, 3 * time.Hour, 1},
		{"more_than_any_platform_gives", false, time.Second, 30 * 24 * time.Hour, 1},
		{"more_than_a_refresh_gives_and_young", true, 5 * time.Minute, 3 * time.Hour, 0},
		{"more_than_a_refresh_gives_and_old", true, time.Hour, 3 * time.Hour, 1},
		{"expired", false, 2*time.Hour + time.Second, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "twitter")
			if test.renewed {
				b.clock.Advance(time.Second)
				if _, err := b.Refresh(t.Context(), c.ID); err != nil {
					t.Fatal(err)
				}
			}
			before := b.refreshes("twitter")
			b.clock.Advance(test.age)
			token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, MinTTL: test.minTTL})
			if err != nil {
				t.Fatal(err)
			}
			if n := b.refreshes("twitter") - before; n != test.refreshes {
				t.Errorf("%d refreshes, want %d", n, test.refreshes)
			}
			if left := token.ExpiresAt.Sub(b.clock.Now()); left < min(test.minTTL, 110*time.Minute) {
				t.Errorf("the token has %v left, asked for %v", left, test.minTTL)
			}
		})
	}
}

func TestService_Token_Selects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	page := b.connect(t, "facebook") // one consent, several Pages
	channel := b.connect(t, "youtube")
	tests := []struct {
		name    string
		request connector.TokenRequest
		want    error
	}{
		{"by_id", connector.TokenRequest{ConnectionID: channel.ID}, nil},
		{"by_owner_and_platform", connector.TokenRequest{Owner: "acme", Platform: "youtube"}, nil},
		{"by_account", connector.TokenRequest{Owner: "acme", Platform: "facebook", AccountID: page.AccountID}, nil},
		{"several_accounts", connector.TokenRequest{Owner: "acme", Platform: "facebook"}, connector.AmbiguousConnection},
		{"id_with_the_wrong_owner", connector.TokenRequest{ConnectionID: channel.ID, Owner: "other"}, connector.ConnectionNotFound},
		{"another_owner", connector.TokenRequest{Owner: "other", Platform: "youtube"}, connector.ConnectionNotFound},
		{"unknown_id", connector.TokenRequest{ConnectionID: "00000000-0000-4000-8000-000000000000"}, connector.ConnectionNotFound},
		{"no_id", connector.TokenRequest{}, connector.InvalidRequest},
		{"unknown_platform", connector.TokenRequest{Owner: "acme", Platform: "myspace"}, connector.InvalidRequest},
		{"scope_that_was_not_granted", connector.TokenRequest{ConnectionID: channel.ID, Scopes: []string{"other.scope"}}, connector.ScopeMissing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := b.Token(t.Context(), test.request)
			if test.want == nil && err != nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// A token that is alive is handed out where the refresh fails (I6).
func TestService_Token_RefreshFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  sandbox.Fault
		left   time.Duration // of the token's life
		want   error         // nil: a degraded token
		status connector.Status
	}{
		{"unavailable_and_token_alive", sandbox.Fault{Kind: sandbox.Outage}, time.Minute, nil, connector.Active},
		{"throttled_and_token_alive", sandbox.Fault{Kind: sandbox.Throttled}, time.Minute, nil, connector.Active},
		{"lost_reply_and_token_alive", sandbox.Fault{Kind: sandbox.Cut, Acts: true}, time.Minute, nil, connector.Active},
		{"unavailable_and_token_dead", sandbox.Fault{Kind: sandbox.Outage}, -time.Second, connector.PlatformUnavailable, connector.Active},
		{"client_refused_and_token_alive", sandbox.Fault{Kind: sandbox.WrongClient}, time.Minute, nil, connector.Active},
		{"client_refused_and_token_dead", sandbox.Fault{Kind: sandbox.WrongClient}, -time.Second, connector.AppMisconfigured, connector.Active},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := b.connect(t, "twitter")
			b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) - test.left)
			test.fault.Platform, test.fault.Endpoint, test.fault.Times = "twitter", "token", 1
			b.sandbox.Fault(test.fault)
			token, err := b.token(t, c.ID)
			if test.want == nil && (err != nil || !token.Degraded || token.AccessToken.Empty()) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %+v, %v; want %v", token, err, test.want)
			}
			after, err := b.Connection(t.Context(), c.ID)
			if err != nil || after.Status != test.status {
				t.Errorf("status %s, %v; want %s", after.Status, err, test.status)
			}
			if test.fault.Acts {
				return
			}
			b.clock.Advance(time.Minute)
			if _, err := b.token(t, c.ID); err != nil {
				t.Errorf("once the platform answers: %v", err)
			}
		})
	}
}

// What the credential store has in memory costs the read of its record alone, and
// no read of a secret, not of the app's either.
func TestService_Token_Cache(t *testing.T) {
	t.Parallel()
	calls := 0
	counted := func(_ context.Context, call connectortest.Call, next func() error) error {
		if call.Name == "Vault.Get" || call.Name == "Vault.Put" {
			calls++
		}
		return next()
	}
	cached := credentialstore.Options{Cached: 10, CacheLife: time.Minute}

	t.Run("cached_credentials_cost_one_read", func(t *testing.T) {
		b := newBench(t)
		b.ports.Wire(b.Service, counted, cached)
		for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
			c := b.connect(t, name)
			for range 2 {
				calls = 0
				if _, err := b.token(t, c.ID); err != nil {
					t.Fatal(err)
				}
			}
			if calls != 0 {
				t.Errorf("%s: %d calls of the vault for cached credentials", name, calls)
			}
		}
	})

	t.Run("cached_credentials_are_never_out_of_date", func(t *testing.T) {
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.ports.Wire(b.Service, counted, cached)
		get := func() string {
			t.Helper()
			token, err := b.token(t, c.ID)
			if err != nil {
				t.Fatal(err)
			}
			return token.AccessToken.Reveal()
		}
		first := get()
		reads := calls
		for range 5 {
			if got := get(); got != first {
				t.Error("the token changed")
			}
		}
		if calls != reads {
			t.Errorf("%d more calls of the vault", calls-reads)
		}
		b.clock.Advance(2 * time.Minute)
		if get(); calls == reads {
			t.Error("the credentials are cached for longer than the cache's life")
		}

		// Another process refreshes. This one must not hand out what it cached.
		if _, err := b.process(nil).Refresh(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if get() == first {
			t.Error("a token was handed out that had been replaced")
		}
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Fatal(err)
		}
		if _, err := b.token(t, c.ID); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("a disconnected connection: %v", err)
		}
	})
}
