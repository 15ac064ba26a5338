package connector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// A consent fails, or its process crashes, at any call of a port, before the call acted
// or after it, on a bus that works and on one that is down. Whatever it hits: once the
// code was redeemed, there is a connection in the end, or the link can be opened again.
// There is one connection an account, an event tells of each, there is no secret without
// a record, and no grant is lost but in the window between the platform's answer and the
// first write.
func TestConsent_EveryFailure(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		kinds := []string{"new", "again", "confirmed"}
		switch name {
		case "facebook":
			kinds = append(kinds, "chosen") // the others have one account
		case "tiktok":
			kinds = append(kinds, "again_with_another_client", "new_with_another_client")
		}
		for _, kind := range kinds {
			t.Run(string(name)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				faults, sum := 0, consentLosses{}
				for mode := range 8 {
					f := fault{after: mode&1 > 0, crash: mode&2 > 0, busDown: mode&4 > 0}
					for f.n = 1; ; f.n++ {
						hit, losses := breakConsent(t, name, kind, f)
						sum.add(losses)
						if !hit || t.Failed() {
							break
						}
						faults++
					}
				}
				if faults == 0 || sum.events == 0 || sum.window == 0 {
					t.Errorf("%d faults, and %+v", faults, sum)
				}
				attr(t, "faults", faults)
				attr(t, "grants_lost_in_window", sum.window)
				attr(t, "grants_lost_otherwise", sum.grants)
				attr(t, "links_lost", sum.links)
				attr(t, "events", sum.events)
				attr(t, "events_lost", sum.eventsLost)
			})
		}
	}
}

// consentLosses are what consents lost, and how many events they sent.
type consentLosses struct {
	window int // grants that a crash lost before anything could store them
	grants int // grants that were lost otherwise
	links  int // links that are dead although their consent led to no connection
	events int

	eventsLost int
}

func (l *consentLosses) add(other consentLosses) {
	l.window += other.window
	l.grants += other.grants
	l.links += other.links
	l.events += other.events
	l.eventsLost += other.eventsLost
}

// breakConsent breaks one call of a consent, and then lets the person reload, the
// product confirm again, and the sweep run. It reports whether there was an n-th call,
// and what was lost.
func breakConsent(t *testing.T, name connector.Name, kind string, broken fault) (hit bool, losses consentLosses) {
	t.Helper()
	b := newBench(t)
	r := connector.LinkRequest{Platform: name, Owner: "acme", ReturnURL: returnURL}
	var former connector.Connection
	if strings.Contains(kind, "again") || strings.HasSuffix(kind, "another_client") {
		former = b.connect(t, name)
	}
	if strings.HasPrefix(kind, "again") {
		r.ConnectionID = former.ID
	}
	if strings.HasSuffix(kind, "another_client") {
		b.replaceClient(t, name)
	}
	r.Confirm, r.Choose = kind == "confirmed", kind == "chosen"
	link := b.mint(t, r)
	request, err := b.consent(t.Context(), name, link, allowed)
	if err != nil {
		t.Fatal(err)
	}
	codes := func() int { return b.sandbox.Count(string(name), "token/authorization_code") }
	redeemedBefore := codes()
	f, written, stored := &failing{n: broken.n, after: broken.after}, &transitions{}, false
	crashing := func(ctx context.Context, call connectortest.Call, next func() error) error {
		err := next()
		if broken.crash && errors.Is(err, errFlaky) {
			panic(crash{})
		}
		return err
	}
	// What the code yielded is stored by the first of these writes after the platform's
	// answer.
	storing := func(_ context.Context, call connectortest.Call, next func() error) error {
		err := next()
		if writes := call.Name == "Store.ReplaceTicket" || call.Name == "Vault.Put"; writes && err == nil && codes() > redeemedBefore {
			stored = true
		}
		return err
	}
	b.hook(connectortest.Chain(crashing, f.hook, storing, written.hook))
	b.events.Refuse(func(connector.Event) bool { return broken.busDown })
	run := func() {
		defer func() {
			if crashed := recover(); crashed != nil {
				if _, ok := crashed.(crash); !ok {
					panic(crashed)
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
		defer cancel()
		result, err := b.Callback(ctx, request)
		if err == nil && r.Choose {
			b.Choose(ctx, request, ids(result.Choices))
		}
		if err == nil && r.Confirm {
			b.Confirm(ctx, result.Confirmation, "acme")
		}
	}
	run()
	hit = f.hit
	f.disarm()
	b.events.Refuse(nil)
	b.hook(written.hook)
	at := fmt.Sprintf("%+v (%s)", broken, f.what)

	redeemed, storedBefore := codes() > redeemedBefore, stored
	b.clock.Advance(time.Minute)
	b.sweep(t)
	again, err := b.Callback(t.Context(), request) // a reload
	if err == nil && r.Choose {
		b.Choose(t.Context(), request, ids(again.Choices))
	}
	if err == nil && r.Confirm {
		b.Confirm(t.Context(), again.Confirmation, "acme")
	}
	for range 3 {
		b.clock.Advance(2 * time.Minute)
		b.sweep(t)
	}
	connections := b.connected(t)
	if !written.connected() {
		if _, err := b.Start(t.Context(), link); err != nil {
			losses.links++
			t.Errorf("%s: redeemed %v, no connection, and the link is dead: %v", at, redeemed, err)
		}
		switch {
		case redeemed && (storedBefore || !broken.crash):
			losses.grants++
			t.Errorf("%s: the grant was lost outside the window", at)
		case redeemed:
			losses.window++
		}
	}
	accounts := map[string]bool{}
	for _, c := range connections {
		if strings.HasSuffix(kind, "another_client") && c.ID != former.ID {
			t.Errorf("%s: a second connection to the account", at)
		}
		if accounts[c.AccountID] {
			t.Errorf("%s: an account is connected twice", at)
		}
		accounts[c.AccountID] = true
		if token, err := b.token(t, c.ID); err != nil || token.Degraded {
			t.Errorf("%s: the token: %v", at, err)
		}
	}
	b.clock.Advance(30 * time.Minute)
	b.sweep(t)
	lost, told := written.lost(b.events.All())
	if losses.events, losses.eventsLost = told, len(lost); len(lost) > 0 {
		t.Errorf("%s: nobody was told of %+v", at, lost)
	}
	if left := b.vault.Names("pending/"); len(left) > 0 {
		t.Errorf("%s: left in the vault: %v", at, left)
	}
	if n := len(b.vault.Names("connections/")); n != len(connections) {
		t.Errorf("%s: %d secrets of %d connections", at, n, len(connections))
	}
	return hit, losses
}

func ids(choices []connector.AccountChoice) []string {
	var all []string
	for _, c := range choices {
		all = append(all, c.ID)
	}
	return all
}

// connected reports whether a connection was connected.
func (n *transitions) connected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.all, func(t transition) bool { return t.event == connector.EventConnected })
}

// While the store takes no writes after the code was redeemed, the vault has what the
// code yielded.
func TestConsent_StoreDown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	request := b.consented(t, "twitter")
	down := false
	b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		if down = down || call.Name == "Sealer.Seal"; down && call.Name != "Sealer.Seal" && call.Name != "Vault.Put" {
			return errFlaky
		}
		return next()
	})
	sleep := b.Service.Sleep
	b.Service.Sleep = func(ctx context.Context, d time.Duration) error {
		if down {
			return context.DeadlineExceeded // there is no time for another try
		}
		return sleep(ctx, d)
	}
	if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.Internal) {
		t.Errorf("got %v, want %s", err, connector.Internal)
	}
	b.hook(nil)
	down = false
	if len(b.vault.Names("pending/")) != 1 {
		t.Errorf("in the vault: %v, want what the code yielded", b.vault.Names(""))
	}
	b.clock.Advance(time.Minute)
	b.sweep(t)
	if page := b.connected(t); len(page) != 1 || len(b.vault.Names("pending/")) > 0 {
		t.Errorf("%d connections and in the vault %v, want one connection", len(page), b.vault.Names(""))
	}
}

// A platform that fails for longer than the access token lives: the refresh token is
// what counts.
func TestConsent_LongOutage(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			endpoint := map[connector.Name]string{"youtube": "channels", "twitter": "me", "tiktok": "me"}[name]
			b.sandbox.Fault(sandbox.Fault{Platform: string(name), Endpoint: endpoint, Kind: sandbox.Outage, Times: 1000})
			if _, err := b.Callback(t.Context(), b.consented(t, name)); !errors.Is(err, connector.PlatformUnavailable) {
				t.Fatalf("got %v, want %s", err, connector.PlatformUnavailable)
			}
			for range 5 {
				b.clock.Advance(time.Hour)
				b.sweep(t)
			}
			if n := b.sandbox.Count(string(name), "token/refresh_token"); n > 5 {
				t.Errorf("%d refreshes", n)
			}
			b.sandbox.ClearFaults()
			b.clock.Advance(time.Hour)
			b.sweep(t)
			page := b.connected(t)
			if len(page) != 1 {
				t.Fatalf("%d connections, want one", len(page))
			}
			if _, err := b.token(t, page[0].ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// A consent that is done is no other person's: a second tab in which somebody else
// consented is refused, and their grant is revoked once the index shows that no
// connection needs it.
func TestConsent_SecondTabOfAnother(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			link := b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme"})
			first, err := b.consent(t.Context(), name, link, allowed)
			if err != nil {
				t.Fatal(err)
			}
			second, err := b.consent(t.Context(), name, link, sandbox.Choice{Account: b.sandbox.People(string(name))[1].ID})
			if err != nil {
				t.Fatal(err)
			}
			result, err := b.Callback(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := b.Callback(t.Context(), second); !errors.Is(err, connector.LinkGone) {
					t.Errorf("the second tab: %v, want %s", err, connector.LinkGone)
				}
			}
			if b.revocations(name) > 0 {
				t.Error("the grant was revoked before the index can show another connection")
			}
			b.clock.Advance(confirmationEnd)
			b.sweep(t)
			if b.revocations(name) == 0 {
				t.Error("the grant of the second person was not revoked")
			}
			if page := b.connected(t); len(page) != result.Accounts {
				t.Errorf("%d connections, want %d", len(page), result.Accounts)
			}
			if _, err := b.Verify(t.Context(), result.Connections[0].ID); err != nil {
				t.Errorf("the connection of the first tab: %v", err)
			}
		})
	}
}

// Of two tabs of one person that come back at once, either may win.
func TestConsent_TwoTabsAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "tiktok"} {
		for n := 1; n < 30; n++ {
			b := newBench(t)
			link := b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme"})
			one := allowed
			if name == "facebook" {
				one = sandbox.Choice{Pages: []string{"200000000000001"}}
			}
			first, err := b.consent(t.Context(), name, link, one)
			if err != nil {
				t.Fatal(err)
			}
			second, err := b.consent(t.Context(), name, link, one)
			if err != nil {
				t.Fatal(err)
			}
			other := b.process(nil)
			var inner connector.CallbackResult
			calls := 0
			b.hook(func(_ context.Context, _ connectortest.Call, next func() error) error {
				if calls++; calls == n {
					b.hooked = nil
					var err error
					if inner, err = other.Callback(t.Context(), second); err != nil {
						t.Errorf("%s: the second tab before call %d of the first: %v", name, n, err)
					}
				}
				return next()
			})
			outer, err := b.Callback(t.Context(), first)
			if err != nil {
				t.Errorf("%s: the first tab, with the second before its call %d: %v", name, n, err)
			}
			if calls < n {
				break
			}
			b.hook(nil)
			if len(outer.Connections) != len(inner.Connections) || len(b.connected(t)) != len(outer.Connections) {
				t.Errorf("%s, call %d: %d and %d connections are shown, of %d", name, n, len(outer.Connections), len(inner.Connections), len(b.connected(t)))
			}
			b.clock.Advance(confirmationEnd)
			b.sweep(t)
			if b.revocations(name) > 0 {
				t.Errorf("%s, call %d: a grant of the person was revoked", name, n)
			}
			for _, c := range b.connected(t) {
				if _, err := b.token(t, c.ID); err != nil {
					t.Errorf("%s, call %d: %v", name, n, err)
				}
			}
		}
	}
}

// A consent crashes after it replaced the credentials of a connection. What it stored is
// renewed before the sweep continues it, so that its own refresh token is spent.
func TestConsent_RenewedBeforeItContinues(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		b := newBench(t)
		c := b.connect(t, "twitter")
		request := b.consentedTo(t, connector.LinkRequest{Platform: "twitter", Owner: "acme", ConnectionID: c.ID}, allowed)
		crashed := false
		crashing := b.process(afterCall("Store.Update", n, func() {
			crashed = true
			panic(crash{})
		}))
		func() {
			defer func() { _ = recover() }()
			crashing.Callback(t.Context(), request)
		}()
		if !crashed {
			break
		}
		b.clock.Advance(40 * time.Second)
		if _, err := b.Refresh(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		b.sweep(t)
		for range 2 {
			if _, err := b.Refresh(t.Context(), c.ID); err != nil {
				t.Errorf("crashed after write %d: a refresh afterwards: %v", n, err)
			}
		}
	}
}

// EndLink ends a consent for an existing connection only before its credentials are
// replaced.
func TestConsent_EndedWhileItReplaces(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]error{"Sealer.Seal": connector.LinkGone, "Vault.Put": nil} {
		b := newBench(t)
		c := b.connect(t, "youtube")
		minted, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID})
		if err != nil {
			t.Fatal(err)
		}
		request, err := b.consent(t.Context(), "youtube", connector.NewSecret(minted.URL.Reveal()[len(publicURL+"/connect/"):]), allowed)
		if err != nil {
			t.Fatal(err)
		}
		other := b.process(nil)
		called := false
		b.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
			if call.Name == at && !called {
				called = true
				if err := other.EndLink(t.Context(), minted.ID); err != nil {
					t.Error(err)
				}
			}
			return next()
		})
		if _, err := b.Callback(t.Context(), request); !errors.Is(err, want) {
			t.Errorf("ended at %s: %v, want %v", at, err, want)
		}
		b.hook(nil)
		if !called {
			t.Errorf("the consent makes no call %s", at)
		}
		replaced := b.connection(t, c.ID).Credentials.Generation > c.Credentials.Generation
		if replaced != (want == nil) {
			t.Errorf("ended at %s: replaced %v", at, replaced)
		}
	}
}

// A callback redeems the code, and is held up until another one gave the consent up. What
// the code yielded is not left in the vault, where nobody would look for it.
func TestConsent_LateHolder(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			request := b.consented(t, name)
			other := b.process(nil)
			b.hook(beforeCall("Sealer.Seal", 1, func() {
				b.clock.Advance(2 * time.Minute)
				_, _ = other.Callback(t.Context(), request)
			}))
			_, err := b.Callback(t.Context(), request)
			b.hook(nil)
			if left := b.vault.Names("pending/"); len(left) > 0 {
				t.Errorf("left in the vault: %v; the answer: %v", left, err)
			}
			if got := b.revocations(name); got == 0 {
				t.Error("the grant, which no connection uses, was not revoked")
			}
		})
	}
}
