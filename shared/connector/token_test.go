package connector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func TestToken_FreshIsHandedOutWithoutAskingThePlatform(t *testing.T) {
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
}

func TestToken_FiftyAtOnceAreOneRefresh(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"twitter", "tiktok", "youtube"} {
		b := newBench(t)
		c := b.connect(t, name)
		b.expire(t, c.ID)
		b.Sleep = connector.Sleep // those who wait must not move the clock on the one who works
		var all sync.WaitGroup
		tokens := make([]string, 50)
		for i := range tokens {
			all.Go(func() {
				token, err := b.token(t, c.ID)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				tokens[i] = token.AccessToken.Reveal()
			})
		}
		all.Wait()
		if n := b.refreshes(name); n != 1 {
			t.Errorf("%s: %d calls of the token endpoint, want 1", name, n)
		}
		if len(slices.Compact(tokens)) != 1 {
			t.Errorf("%s: the answers differ", name)
		}
	}
}

func TestToken_MinTTL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		renewed   bool          // the token is from a refresh, not from the consent
		age       time.Duration // of a token that lives 7,200 seconds
		minTTL    time.Duration
		refreshes int
	}{
		{"enough left", false, time.Hour, time.Hour - time.Minute, 0},
		{"too little left", false, time.Hour, time.Hour + time.Minute, 1},
		{"more than the consent gave, young", false, time.Second, 3 * time.Hour, 1},
		{"more than any platform gives", false, time.Second, 30 * 24 * time.Hour, 1},
		{"more than a refresh gives, young", true, 5 * time.Minute, 3 * time.Hour, 0},
		{"more than a refresh gives, old", true, time.Hour, 3 * time.Hour, 1},
		{"expired", false, 2*time.Hour + time.Second, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
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
				t.Errorf("the token lives for another %v, asked for %v", left, test.minTTL)
			}
		})
	}
}

func TestToken_Selects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	page := b.connect(t, "facebook") // one consent, several Pages
	channel := b.connect(t, "youtube")
	tests := []struct {
		name    string
		request connector.TokenRequest
		want    error
	}{
		{"by id", connector.TokenRequest{ConnectionID: channel.ID}, nil},
		{"by owner and platform", connector.TokenRequest{Owner: "acme", Platform: "youtube"}, nil},
		{"by account", connector.TokenRequest{Owner: "acme", Platform: "facebook", AccountID: page.AccountID}, nil},
		{"several accounts", connector.TokenRequest{Owner: "acme", Platform: "facebook"}, connector.AmbiguousConnection},
		{"id with the wrong owner", connector.TokenRequest{ConnectionID: channel.ID, Owner: "other"}, connector.ConnectionNotFound},
		{"another owner", connector.TokenRequest{Owner: "other", Platform: "youtube"}, connector.ConnectionNotFound},
		{"unknown id", connector.TokenRequest{ConnectionID: "00000000-0000-4000-8000-000000000000"}, connector.ConnectionNotFound},
		{"no id at all", connector.TokenRequest{}, connector.InvalidRequest},
		{"unknown platform", connector.TokenRequest{Owner: "acme", Platform: "myspace"}, connector.InvalidRequest},
		{"scope that was not granted", connector.TokenRequest{ConnectionID: channel.ID, Scopes: []string{"other.scope"}}, connector.ScopeMissing},
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

func TestToken_WhenTheRefreshFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  sandbox.Fault
		left   time.Duration // of the token's life
		want   error         // nil: a degraded token
		status connector.Status
	}{
		{"unavailable, token alive", sandbox.Fault{Kind: sandbox.Outage}, time.Minute, nil, connector.Active},
		{"throttled, token alive", sandbox.Fault{Kind: sandbox.Throttled}, time.Minute, nil, connector.Active},
		{"lost reply, token alive", sandbox.Fault{Kind: sandbox.Cut, Acts: true}, time.Minute, nil, connector.Active},
		{"unavailable, token dead", sandbox.Fault{Kind: sandbox.Outage}, -time.Second, connector.PlatformUnavailable, connector.Active},
		{"client refused, token alive", sandbox.Fault{Kind: sandbox.WrongClient}, time.Minute, nil, connector.Active},
		{"client refused, token dead", sandbox.Fault{Kind: sandbox.WrongClient}, -time.Second, connector.AppMisconfigured, connector.Active},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
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
				t.Errorf("once it is over: %v", err)
			}
		})
	}
}

func TestToken_LostReplyIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) - time.Minute)
	b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut, Acts: true, Times: 1})

	for range 5 {
		token, err := b.token(t, c.ID)
		if err != nil || !token.Degraded {
			t.Fatalf("while the access token lives: %+v, %v", token, err)
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
}

// A request that never reached the platform looks like a lost reply; the
// refresh token is still good then.
func TestToken_LostRequestRecovers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	b.expire(t, c.ID)
	b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Cut, Times: 1})
	if _, err := b.token(t, c.ID); !errors.Is(err, connector.PlatformUnavailable) {
		t.Fatalf("got %v, want PlatformUnavailable", err)
	}
	if _, err := b.token(t, c.ID); err != nil {
		t.Errorf("once it is over: %v", err)
	}
}

func TestToken_RevokedGrantAsksThePlatformOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"youtube", "twitter", "tiktok"} {
		b := newBench(t)
		c := b.connect(t, name)
		b.sandbox.Kill(string(name), "", 0)
		b.expire(t, c.ID)
		for range 5 {
			if _, err := b.token(t, c.ID); !errors.Is(err, connector.ReauthorizationRequired) {
				t.Errorf("%s: got %v, want ReauthorizationRequired", name, err)
			}
		}
		if n := b.refreshes(name); n != 1 {
			t.Errorf("%s: the platform was asked %d times, want once", name, n)
		}
		var notices int
		for _, e := range b.events.All() {
			if e.Type == connector.EventReauth {
				notices++
			}
		}
		if notices != 1 {
			t.Errorf("%s: %d events, want one", name, notices)
		}
	}
}

func TestToken_ForcedTooOften(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	var refused error
	for range 30 {
		b.clock.Advance(time.Second)
		if _, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true}); err != nil {
			refused = err
		}
	}
	if n := b.refreshes("twitter"); n > 10 || n < 2 {
		t.Errorf("%d refreshes were forced in half a minute", n)
	}
	if e := connector.AsError(refused); !errors.Is(refused, connector.RateLimited) || e.RetryAfter <= 0 {
		t.Errorf("got %v, want RateLimited with retry_after", refused)
	}
	b.clock.Advance(10 * time.Minute)
	if _, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true}); err != nil {
		t.Errorf("ten minutes later: %v", err)
	}
}

func TestToken_ForcedWhileThePlatformThrottles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "twitter")
	b.sandbox.Fault(sandbox.Fault{Kind: sandbox.Throttled, Platform: "twitter", Endpoint: "token", Times: 1})
	token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true})
	if err != nil || !token.Degraded || token.DegradedReason != connector.RateLimited || token.AccessToken.Empty() {
		t.Errorf("got %+v, %v; want the token that still lives, degraded", token, err)
	}
}

func TestToken_AReplacedAppCondemnsNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "youtube")
	if _, err := b.PutApp(t.Context(), "youtube", connector.App{ClientID: "another-client", ClientSecret: connector.NewSecret("another-secret")}); err != nil {
		t.Fatal(err)
	}
	b.expire(t, c.ID)
	if _, err := b.token(t, c.ID); !errors.Is(err, connector.AppMisconfigured) {
		t.Errorf("got %v, want AppMisconfigured", err)
	}
	if n := b.refreshes("youtube"); n != 0 {
		t.Errorf("another app's client was shown the refresh token %d times", n)
	}
	if after, _ := b.Connection(t.Context(), c.ID); after.Status != connector.Active || after.Failures != 0 {
		t.Errorf("the connection is %s with %d failures", after.Status, after.Failures)
	}
	app := b.sandbox.AppOf("youtube")
	if _, err := b.PutApp(t.Context(), "youtube", connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.token(t, c.ID); err != nil {
		t.Errorf("with the app restored: %v", err)
	}
}

// TestToken_KeptCredentialsCostOneRead holds for each platform: what is kept in
// memory costs the read of its record, and no read of a secret, be it of the
// app.
func TestToken_KeptCredentialsCostOneRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Cache = connector.NewCredentialsCache(10, time.Minute)
	counted := &failing{}
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		b.Service.Vault = b.vault
		c := b.connect(t, name)
		b.Service.Vault = &failingVault{Vault: b.vault, failing: counted}
		for range 2 {
			counted.calls = 0
			if _, err := b.token(t, c.ID); err != nil {
				t.Fatal(err)
			}
		}
		if counted.calls != 0 {
			t.Errorf("%s: %d reads of the vault for credentials that are kept", name, counted.calls)
		}
	}
}

func TestToken_CacheSparesTheVaultAndIsNeverStale(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Cache = connector.NewCredentialsCache(10, time.Minute)
	c := b.connect(t, "youtube")
	counted := &failing{}
	b.Service.Vault = &failingVault{Vault: b.vault, failing: counted}
	get := func() string {
		t.Helper()
		token, err := b.token(t, c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return token.AccessToken.Reveal()
	}

	first := get()
	reads := counted.calls
	for range 5 {
		if got := get(); got != first {
			t.Error("the token changed")
		}
	}
	if counted.calls != reads {
		t.Errorf("%d more reads of the vault", counted.calls-reads)
	}
	b.clock.Advance(2 * time.Minute)
	if get(); counted.calls == reads {
		t.Error("the cache outlives its life")
	}

	// Another process refreshes; this one must not hand out what it keeps.
	other := *b.Service
	other.Cache = nil
	if _, err := other.Refresh(t.Context(), c.ID); err != nil {
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
}

// ending is a platform whose checks tell when a token ends.
type ending struct {
	connector.Platform
	at time.Time
}

func (p ending) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	c, err := p.Platform.Refresh(ctx, app, c)
	c.ExpiresAt = p.at
	return c, err
}

// A check may tell the end of a token that was stored without one; from then
// on callers are told.
func TestToken_TellsTheEndThatACheckFound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "facebook")
	end := noon.Add(60 * 24 * time.Hour)
	for i, p := range b.Platforms {
		b.Platforms[i] = ending{p, end}
	}
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
}
