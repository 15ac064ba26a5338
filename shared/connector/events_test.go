package connector_test

import (
	"context"
	"errors"
	"strings"
	"sync"
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
	consent := func(t *testing.T, b *bench, c connector.Connection) {
		minted, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "twitter", Owner: "acme", ConnectionID: c.ID})
		if err != nil {
			return
		}
		link := connector.NewSecret(minted.URL.Reveal()[len(publicURL+"/connect/"):])
		if request, err := b.consent(t.Context(), "twitter", link, allowed); err == nil {
			b.Callback(t.Context(), request)
		}
	}
	return []happening{
		{"a first consent", none, consent, connector.EventConnected, ""},
		{"a second consent", connected("twitter"), consent, connector.EventConnected, ""},
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
		{"a consent after a refusal", dead, consent, connector.EventRecovered, ""},
		{"a check that succeeds", deauthorized, func(t *testing.T, b *bench, c connector.Connection) {
			b.Verify(t.Context(), c.ID)
		}, connector.EventRecovered, "verified"},
		{"a check that finds no channel", connected("youtube"), func(t *testing.T, b *bench, c connector.Connection) {
			b.noChannel()
			b.Verify(t.Context(), c.ID)
		}, connector.EventDegraded, "no_channel"},
		{"a check that finds it again", func(t *testing.T, b *bench) connector.Connection {
			c := connected("youtube")(t, b)
			b.noChannel()
			b.Verify(t.Context(), c.ID)
			return c
		}, func(t *testing.T, b *bench, c connector.Connection) {
			b.Verify(t.Context(), c.ID)
		}, connector.EventRecovered, "verified"},
		{"credits that are spent", connected("twitter"), func(t *testing.T, b *bench, c connector.Connection) {
			b.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Quota, Times: -1})
			b.Verify(t.Context(), c.ID)
		}, connector.EventQuota, "credits_depleted"},
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

// What is owed does not expire, however long neither the bus nor the sweep works.
func TestEvents_LongOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.events.Refuse(func(connector.Event) bool { return true })
	c := b.connect(t, "twitter")
	if err := b.Disconnect(t.Context(), c.ID, true); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(20 * time.Minute)
	b.sweep(t)
	b.events.Refuse(nil)
	b.clock.Advance(3 * 365 * 24 * time.Hour)
	b.sweep(t)
	for _, kind := range []connector.EventType{connector.EventConnected, connector.EventDisconnected} {
		events := b.published(kind)
		if len(events) != 1 {
			t.Fatalf("%d events %q, want one", len(events), kind)
		}
		e := events[0]
		if e.ConnectionID != c.ID || e.Owner != "acme" || e.Platform != "twitter" || e.AccountID != c.AccountID || b.clock.Now().Sub(e.OccurredAt) < 365*24*time.Hour {
			t.Errorf("the event is %+v, want the whole of %+v, as it happened", e, c)
		}
	}
}

// The time between two tries grows to an hour. The worker tries again after a failure of
// its own, too.
func TestEvents_Backoff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	tries := 0
	b.events.Refuse(func(connector.Event) bool {
		tries++
		return true
	})
	b.connect(t, "twitter")
	b.hook(failAt("Store.ReplaceTicket", 2))
	for range 24 * 60 / 5 {
		b.clock.Advance(5 * time.Minute)
		if _, err := b.QueueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, item := range b.queue.Drain() {
			if item.Kind == connector.EventKind {
				b.HandleDue(t.Context(), item)
			}
		}
	}
	if tries < 20 || tries > 40 {
		t.Errorf("%d tries in a day, want about one an hour", tries)
	}
	b.events.Refuse(nil)
	b.clock.Advance(2 * time.Hour)
	b.sweep(t)
	if n := len(b.published(connector.EventConnected)); n != 1 {
		t.Errorf("%d events, want one", n)
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

// transitions notes, at the store, every write that the operator's product must be told
// of. It knows nothing of the tickets of the service.
type transitions struct {
	mu  sync.Mutex
	all []transition
}

// transition is what one write changed.
type transition struct {
	id       connector.ID
	revision int64
	event    connector.EventType
}

// hook notes what a call of the store wrote. It must be the innermost hook.
func (n *transitions) hook(_ context.Context, call connectortest.Call, next func() error) error {
	err := next()
	if after := call.Change.After; err == nil && after != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.note(call.Change.Before, *after)
	}
	return err
}

func (n *transitions) note(before *connector.Connection, after connector.Connection) {
	if before == nil {
		n.all = append(n.all, transition{after.ID, 1, connector.EventConnected})
		return
	}
	add := func(event connector.EventType) {
		n.all = append(n.all, transition{after.ID, before.Revision + 1, event})
	}
	switch changed := after.Status != before.Status; {
	case changed && after.Status == connector.NeedsReauth:
		add(connector.EventReauth)
	case changed && after.Status == connector.Disconnected:
		add(connector.EventDisconnected)
	case changed && before.Status == connector.NeedsReauth:
		add(connector.EventRecovered)
	case before.Degraded.Code != "" && after.Degraded.Code == "" && after.Status == connector.Active:
		add(connector.EventRecovered)
	case after.Degraded.Code != "" && before.Degraded.Code == "":
		add(connector.EventDegraded)
	case changed, after.Status == connector.Active && after.ConsentID != before.ConsentID:
		add(connector.EventConnected)
	}
	if days := after.ExpiryNoticeDays; after.Status == connector.Active && days != 0 && days != before.ExpiryNoticeDays {
		add(connector.EventExpiring)
	}
}

// lost returns the transitions that no event told, and how many were told.
func (n *transitions) lost(events []connector.Event) (lost []transition, told int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sent := map[transition]bool{}
	for _, e := range events {
		sent[transition{e.ConnectionID, e.Revision, e.Type}] = true
	}
	for _, t := range n.all {
		if !sent[t] {
			lost = append(lost, t)
		}
	}
	return lost, len(n.all) - len(lost)
}

// TestEvents_EveryFailure has each event come about while the n-th call of a port fails
// or crashes the process, before the port acts or after it, for every n, on a bus that
// works and on one that refuses everything. After the sweeps that follow, every
// transition that was written was told, and a used quota too.
func TestEvents_EveryFailure(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	faults, told, twice := 0, 0, 0
	t.Run("all", func(t *testing.T) {
		for _, what := range happenings() {
			t.Run(what.name, func(t *testing.T) {
				t.Parallel()
				for mode := range 8 {
					f := fault{after: mode&1 > 0, crash: mode&2 > 0, busDown: mode&4 > 0}
					for f.n = 1; ; f.n++ {
						hit, n, again := what.fail(t, f)
						if !hit || t.Failed() {
							break
						}
						mu.Lock()
						faults, told, twice = faults+1, told+n, twice+again
						mu.Unlock()
					}
				}
			})
		}
	})
	if faults == 0 || told == 0 {
		t.Errorf("%d faults, %d events", faults, told)
	}
	attr(t, "faults", faults)
	attr(t, "events", told)
	attr(t, "events_sent_twice", twice)
	attr(t, "events_lost", 0)
	t.Logf("%d faults, %d events, %d of them sent twice, 0 lost", faults, told, twice)
}

// fault is what happens at the n-th call of a port.
type fault struct {
	n            int
	after, crash bool
	busDown      bool // all the time
}

// fail plays the happening with a fault, and the sweeps that follow. It reports whether
// there was an n-th call, how many events were sent, and how many of them twice.
func (what happening) fail(t *testing.T, f fault) (hit bool, told, twice int) {
	t.Helper()
	b := newBench(t)
	c := what.prepare(t, b)
	before := len(b.events.All())
	b.events.Refuse(func(connector.Event) bool { return f.busDown })
	written := &transitions{}
	calls, where := 0, ""
	process := b.on(b.process(connectortest.Chain(func(_ context.Context, call connectortest.Call, next func() error) error {
		calls++
		if calls != f.n {
			return next()
		}
		hit, where = true, call.Name
		if f.after {
			if err := next(); err != nil {
				return err
			}
		}
		if f.crash {
			panic(crash{})
		}
		return errFlaky
	}, written.hook)))
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(crash{}) {
				panic(r)
			}
		}()
		what.do(t, process, c)
	}()
	b.hook(written.hook)
	for range 3 {
		b.clock.Advance(20 * time.Minute)
		b.sweep(t)
	}
	if what.event == connector.EventQuota {
		what.do(t, b, c) // the next caller
	}
	b.events.Refuse(nil)
	for range 3 {
		b.clock.Advance(2 * time.Hour)
		b.sweep(t)
	}
	events := b.events.All()[before:]
	lost, told := written.lost(events)
	if len(lost) > 0 {
		t.Errorf("%+v, at %s: nobody was told of %+v", f, where, lost)
	}
	if what.event == connector.EventQuota && len(b.published(connector.EventQuota)) == 0 {
		t.Errorf("%+v, at %s: nobody was told of the used quota", f, where)
	}
	ids := map[connector.ID]int{}
	for _, e := range events {
		if ids[e.ID]++; ids[e.ID] == 2 {
			twice++
		}
		if e.OccurredAt.IsZero() || e.ID == "" || e.Type != connector.EventRefreshed && e.Revision == 0 {
			t.Errorf("%+v, at %s: the event is incomplete: %+v", f, where, e)
		}
	}
	if left := strings.Count(b.store.Text(), `"event":{`); left > 0 {
		t.Errorf("%+v, at %s: %d events are still owed", f, where, left)
	}
	return hit, told, twice
}
