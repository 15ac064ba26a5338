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

// happening is something that the operator's product is told of.
type happening struct {
	name string
	// prepare brings the bench to where it can happen, and returns the connection.
	prepare func(t *testing.T, b *bench) connector.Connection
	do      func(t *testing.T, b *bench, c connector.Connection)
	event   connector.EventType
	reason  string
}

// happenings has every way in which an event comes about, except for Connection
// Refreshed.
func happenings() []happening {
	connected := func(name connector.Name) func(*testing.T, *bench) connector.Connection {
		return func(t *testing.T, b *bench) connector.Connection { return b.connect(t, name) }
	}
	expiredOne := func(name connector.Name) func(*testing.T, *bench) connector.Connection {
		return func(t *testing.T, b *bench) connector.Connection {
			c := b.connect(t, name)
			b.expire(t, c.ID)
			return c
		}
	}
	dead := func(t *testing.T, b *bench) connector.Connection {
		c := expiredOne("twitter")(t, b)
		b.revokedByPlatform(t, "twitter", c.ID)
		return c
	}
	deauthorized := func(t *testing.T, b *bench) connector.Connection {
		c := b.connect(t, "tiktok")
		b.clock.Advance(time.Minute)
		b.deauthorize(t, c.ID)
		return c
	}
	onePage := func(t *testing.T, b *bench) connector.Connection {
		choice := sandbox.Choice{Account: b.sandbox.People("facebook")[1].ID}
		result, err := b.Callback(t.Context(), b.consentedTo(t, connector.LinkRequest{Platform: "facebook", Owner: "acme"}, choice))
		if err != nil || len(result.Connections) != 1 {
			t.Fatalf("%d connections, %v", len(result.Connections), err)
		}
		return result.Connections[0]
	}
	none := func(*testing.T, *bench) connector.Connection { return connector.Connection{} }
	reauthorize := func(t *testing.T, b *bench, c connector.Connection) { b.reauthorize(t, "twitter", c.ID) }
	return []happening{
		{"a first consent", none, func(t *testing.T, b *bench, _ connector.Connection) {
			b.Callback(t.Context(), b.consented(t, "twitter"))
		}, connector.EventConnected, ""},
		{"a second consent", connected("twitter"), reauthorize, connector.EventConnected, ""},
		{"an import", none, func(t *testing.T, b *bench, _ connector.Connection) {
			fields := connector.Fields{}
			fields.Set("access_token", "made-up-access-token")
			fields.Set("refresh_token", "made-up-refresh-token")
			b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme", Credentials: fields, SkipVerify: true})
		}, connector.EventConnected, ""},
		{"a connection by hand", func(t *testing.T, b *bench) connector.Connection {
			app := b.sandbox.AppOf(sandbox.TikTok)
			_, err := b.PutApp(t.Context(), "tiktok", connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret), Mode: connector.ByHand})
			if err != nil {
				t.Fatal(err)
			}
			return connector.Connection{}
		}, func(t *testing.T, b *bench, _ connector.Connection) {
			b.Import(t.Context(), connector.ImportRequest{Platform: "tiktok", Owner: "acme"})
		}, connector.EventConnected, ""},
		{"a refusal of the grant", expiredOne("twitter"), func(t *testing.T, b *bench, c connector.Connection) {
			b.sandbox.Kill("twitter", "", 0)
			b.token(t, c.ID)
		}, connector.EventReauth, "grant_refused"},
		{"a refusal at the sweep", expiredOne("twitter"), func(t *testing.T, b *bench, c connector.Connection) {
			b.sandbox.Kill("twitter", "", 0)
			b.HandleDue(t.Context(), dueKey(c.ID))
		}, connector.EventReauth, "grant_refused"},
		{"a notice", connected("tiktok"), func(t *testing.T, b *bench, c connector.Connection) {
			b.clock.Advance(time.Minute)
			body, signature := b.sandbox.TikTokNotice("authorization.removed", c.AccountID)
			b.TakeNotice(t.Context(), "tiktok", "webhook", connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body})
		}, connector.EventReauth, "deauthorized"},
		{"a consent after a refusal", dead, reauthorize, connector.EventRecovered, ""},
		{"a check that succeeds", deauthorized, func(t *testing.T, b *bench, c connector.Connection) {
			b.Verify(t.Context(), c.ID)
		}, connector.EventRecovered, "verified"},
		{"a disconnection", connected("twitter"), func(t *testing.T, b *bench, c connector.Connection) {
			b.Disconnect(t.Context(), c.ID, false)
		}, connector.EventDisconnected, ""},
		{"a purge", connected("twitter"), func(t *testing.T, b *bench, c connector.Connection) {
			b.Disconnect(t.Context(), c.ID, true)
		}, connector.EventDisconnected, ""},
		{"a data deletion", onePage, func(t *testing.T, b *bench, c connector.Connection) {
			b.clock.Advance(time.Minute)
			b.TakeNotice(t.Context(), "facebook", "data-deletion", b.signedRequest(c))
		}, connector.EventDisconnected, "data_deletion"},
		{"a used quota", func(t *testing.T, b *bench) connector.Connection {
			app := b.sandbox.AppOf(sandbox.Twitter)
			_, err := b.PutApp(t.Context(), "twitter", connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret), MonthlyPostLimit: 1, BillingDay: 1})
			if err != nil {
				t.Fatal(err)
			}
			return b.connect(t, "twitter")
		}, func(t *testing.T, b *bench, c connector.Connection) {
			b.Reserve(t.Context(), c.ID, 2)
		}, connector.EventQuota, "monthly_post_limit"},
		{"an expiry that comes near", func(t *testing.T, b *bench) connector.Connection {
			c := onePage(t, b)
			b.clock.Advance(c.GrantExpiresAt.Add(-14*24*time.Hour).Sub(b.clock.Now()) + time.Minute)
			return c
		}, func(t *testing.T, b *bench, c connector.Connection) {
			b.HandleDue(t.Context(), dueKey(c.ID))
		}, connector.EventExpiring, "expires within 14 days"},
	}
}

// TestEvents_Owed lets each event come about while it cannot be sent, and wants it to
// be sent by the sweep afterwards, also where the connection was purged.
func TestEvents_Owed(t *testing.T) {
	t.Parallel()
	for _, what := range happenings() {
		t.Run(what.name, func(t *testing.T) {
			t.Parallel()
			t.Run("refused", func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c := what.prepare(t, b)
				before := len(b.published(what.event))
				b.hook(connectortest.Fail(errFlaky, "Events.Publish"))
				what.do(t, b, c)
				b.hook(nil)
				what.wantSwept(t, b, before)
			})
			t.Run("crashed", func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c := what.prepare(t, b)
				before := len(b.published(what.event))
				crashing := b.on(b.process(crashAt("Events.Publish", 1)))
				wantCrash(t, func() { what.do(t, crashing, c) })
				what.wantSwept(t, b, before)
			})
		})
	}
}

// wantSwept wants one event more than before, once the sweep ran.
func (what happening) wantSwept(t *testing.T, b *bench, before int) {
	t.Helper()
	for range 4 {
		b.clock.Advance(20 * time.Minute)
		b.sweep(t)
	}
	events := b.published(what.event)
	if len(events) <= before {
		t.Fatalf("no event %q after the sweep", what.event)
	}
	if got := events[len(events)-1]; got.Reason != what.reason {
		t.Errorf("the reason is %q, want %q", got.Reason, what.reason)
	}
}

// A bus that does not answer takes little of the caller's time, however many events
// there are.
func TestEvents_SilentBus(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.hook(func(ctx context.Context, call connectortest.Call, next func() error) error {
		if call.Name == "Events.Publish" {
			<-ctx.Done()
			return ctx.Err()
		}
		return next()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
	defer cancel()
	began := time.Now()
	var c connector.Connection
	for range 5 {
		result, err := b.Callback(ctx, b.consented(t, "facebook"))
		if err != nil {
			t.Fatal(err)
		}
		c = result.Connections[0]
	}
	if err := b.Disconnect(ctx, c.ID, true); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the caller waited %v for the bus", took)
	}
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
