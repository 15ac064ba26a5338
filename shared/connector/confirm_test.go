package connector_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// confirmationLife and confirmationEnd are promises: how long a confirmation
// is good, and from when on the sweep ends what was not confirmed.
const (
	confirmationLife = 10 * time.Minute
	confirmationEnd  = 11 * time.Minute
)

// hold takes the owner "acme" through a consent that has to be confirmed.
func (b *bench) hold(t *testing.T, name connector.Name, choice sandbox.Choice) connector.Secret {
	t.Helper()
	return b.holdFor(t, connector.LinkRequest{Platform: name, Owner: "acme"}, choice)
}

func (b *bench) holdFor(t *testing.T, r connector.LinkRequest, choice sandbox.Choice) connector.Secret {
	t.Helper()
	r.ReturnURL, r.Confirm = returnURL, true
	request, err := b.consent(t.Context(), r.Platform, b.mint(t, r), choice)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if result.Confirmation.Empty() || len(result.Connections) > 0 || result.ReturnURL != returnURL {
		t.Fatalf("a consent to be confirmed: %+v", result)
	}
	return result.Confirmation
}

// sweep does what the schedule and the worker do, and returns the outcomes.
func (b *bench) sweep(t *testing.T) []connector.Outcome {
	t.Helper()
	if _, err := b.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	var outcomes []connector.Outcome
	for _, id := range b.queue.Drain() {
		outcome, err := b.RefreshDue(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

// wantSwept sweeps, and wants those outcomes.
func (b *bench) wantSwept(t *testing.T, what string, want ...connector.Outcome) {
	t.Helper()
	if got := b.sweep(t); !slices.Equal(got, want) {
		t.Errorf("%s: the sweep came to %v, want %v", what, got, want)
	}
}

// wantNothingHeld wants no credentials in the vault that wait to be confirmed.
func (b *bench) wantNothingHeld(t *testing.T) {
	t.Helper()
	if names := b.vault.Names("pending/"); len(names) > 0 {
		t.Errorf("held in the vault: %v", names)
	}
}

// revocations is how often the platform was asked to end a grant.
func (b *bench) revocations(name connector.Name) int {
	return b.sandbox.Count(string(name), "revoke")
}

func (b *bench) connected(t *testing.T) []connector.Connection {
	t.Helper()
	page, _, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func (b *bench) wantNothingToConfirm(t *testing.T, what string, confirmation connector.Secret, owner string) {
	t.Helper()
	connections, err := b.Confirm(t.Context(), confirmation, owner)
	if !errors.Is(err, connector.ConnectionNotFound) || connections != nil {
		t.Errorf("%s: %v, %v, want %s", what, connections, err, connector.ConnectionNotFound)
	}
}

func TestService_Confirm(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			choice := sandbox.Choice{}
			want := 1
			if name == "facebook" {
				choice.Pages, want = []string{"200000000000001", "200000000000002"}, 2
			}
			consented := b.clock.Now()
			confirmation := b.hold(t, name, choice)
			if _, err := b.Token(t.Context(), connector.TokenRequest{Owner: "acme", Platform: name}); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("token before the confirmation: %v", err)
			}
			if len(b.connected(t)) > 0 || len(b.events.All()) > 0 {
				t.Error("something is connected before the confirmation")
			}

			b.clock.Advance(confirmationLife - time.Second)
			connections, err := b.Confirm(t.Context(), confirmation, "acme")
			if err != nil || len(connections) != want {
				t.Fatalf("confirmed %d, %v", len(connections), err)
			}
			for _, c := range connections {
				if !c.VerifiedAt.Equal(consented) {
					t.Errorf("verified %v, want %v", c.VerifiedAt, consented)
				}
				if token, err := b.token(t, c.ID); err != nil || token.AccessToken.Empty() {
					t.Errorf("token: %v", err)
				}
			}
			if events := b.events.All(); len(events) < want || events[0].Type != connector.EventConnected {
				t.Errorf("events: %+v", events)
			}
			b.wantNothingToConfirm(t, "again", confirmation, "acme")

			b.clock.Advance(time.Hour)
			if outcomes := b.sweep(t); slices.Contains(outcomes, connector.Expired) {
				t.Errorf("the sweep found %v", outcomes)
			}
			if n := b.revocations(name); n > 0 {
				t.Errorf("%d revocations of what was confirmed", n)
			}
		})
	}
}

func TestService_ConfirmNeedsAReturnURL(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := b.MintLink(t.Context(), connector.LinkRequest{Platform: "youtube", Owner: "acme", Confirm: true})
	if e := connector.AsError(err); e == nil || e.Code != connector.InvalidRequest || e.Message[:11] != "return_url:" {
		t.Errorf("minting: %v", err)
	}

	// The origin was taken off the list while the person consented.
	link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true})
	request, err := b.consent(t.Context(), "youtube", link, sandbox.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	b.ReturnOrigins = nil
	if _, err := b.Callback(t.Context(), request); !errors.Is(err, connector.InvalidRequest) {
		t.Errorf("callback: %v", err)
	}
	if n := b.sandbox.Count("youtube", "token/authorization_code"); n > 0 {
		t.Errorf("the code was redeemed %d times", n)
	}
}

// What cannot be confirmed looks the same, whatever the reason, and does no
// harm to what can.
func TestService_ConfirmRefuses(t *testing.T) {
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
		{"another owner", func(_ *bench, c connector.Secret) (connector.Secret, string) { return c, "globex" }, true},
		{"another owner by case", func(_ *bench, c connector.Secret) (connector.Secret, string) { return c, "Acme" }, true},
		{"one second late", func(b *bench, c connector.Secret) (connector.Secret, string) {
			b.clock.Advance(confirmationLife + time.Second)
			return c, "acme"
		}, false},
		{"at the very end", func(b *bench, c connector.Secret) (connector.Secret, string) {
			b.clock.Advance(confirmationLife)
			return c, "acme"
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			confirmation := b.hold(t, "youtube", sandbox.Choice{})
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
}

func TestService_ConfirmNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmation := b.hold(t, "youtube", sandbox.Choice{})
	for _, row := range []struct {
		confirmation connector.Secret
		owner        string
	}{{connector.Secret{}, "acme"}, {confirmation, ""}, {confirmation, "a\nb"}} {
		if _, err := b.Confirm(t.Context(), row.confirmation, row.owner); !errors.Is(err, connector.InvalidRequest) {
			t.Errorf("owner %q: %v", row.owner, err)
		}
	}
}

func TestService_ConfirmWinsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmation := b.hold(t, "youtube", sandbox.Choice{})
	var mu sync.Mutex
	var won int
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := b.Confirm(t.Context(), confirmation, "acme")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	all.Wait()
	if n := len(b.connected(t)); won != 1 || n != 1 {
		t.Errorf("%d won, %d connections", won, n)
	}
}

func TestService_UnconfirmedIsRevokedAndDeleted(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			confirmation := b.hold(t, name, sandbox.Choice{})
			b.clock.Advance(confirmationEnd - time.Second)
			b.wantSwept(t, "a second too early")
			if n := b.revocations(name); n > 0 {
				t.Errorf("a second too early: %d revocations", n)
			}
			b.clock.Advance(time.Second)
			b.wantSwept(t, "in time", connector.Expired)
			if b.revocations(name) == 0 {
				t.Error("the grant was not revoked")
			}
			b.wantNothingHeld(t)
			b.wantNothingToConfirm(t, "after the revocation", confirmation, "acme")
			b.clock.Advance(time.Hour)
			b.wantSwept(t, "an hour later")
		})
	}
}

// An outage keeps what nobody confirmed from being revoked for a while, and
// from being confirmed for good.
func TestService_UnconfirmedIsRevokedAfterAnOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmation := b.hold(t, "youtube", sandbox.Choice{})
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 2})
	b.clock.Advance(confirmationEnd)
	for range 2 {
		b.wantSwept(t, "during the outage", connector.Failed)
		b.wantNothingToConfirm(t, "during the outage", confirmation, "acme")
		b.clock.Advance(15 * time.Minute)
	}
	b.wantSwept(t, "after the outage", connector.Expired)
	b.wantNothingHeld(t)
}

// A platform that never answers does not keep the secret alive.
func TestService_UnconfirmedIsDeletedAfterADay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.hold(t, "youtube", sandbox.Choice{})
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 1000})
	b.clock.Advance(confirmationEnd + 24*time.Hour)
	b.wantSwept(t, "after a day", connector.Expired)
	b.wantNothingHeld(t)
}

// A person who has a connection keeps it, whoever sent them another link.
func TestService_UnconfirmedDoesNotEndAConnectionOfThePerson(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		b := newBench(t)
		c := b.connect(t, name)
		b.holdFor(t, connector.LinkRequest{Platform: name, Owner: "attacker"}, sandbox.Choice{})
		b.clock.Advance(confirmationEnd)
		if outcomes := b.sweep(t); !slices.Contains(outcomes, connector.Expired) {
			t.Fatalf("%s: the sweep: %v", name, outcomes)
		}
		if _, err := b.Verify(t.Context(), c.ID); err != nil {
			t.Errorf("%s: the connection that stood: %v", name, err)
		}
	}
}

func TestService_ConfirmReauthorizes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "youtube")
	request := connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID}
	confirmation := b.holdFor(t, request, sandbox.Choice{})
	if fresh, err := b.Connection(t.Context(), c.ID); err != nil || fresh.Revision != c.Revision {
		t.Errorf("before the confirmation the connection moved: %+v, %v", fresh, err)
	}
	connections, err := b.Confirm(t.Context(), confirmation, "acme")
	if err != nil || len(connections) != 1 || connections[0].ID != c.ID || connections[0].ConsentID == c.ConsentID {
		t.Errorf("confirmed: %+v, %v", connections, err)
	}

	// Disconnected between the consent and its confirmation.
	confirmation = b.holdFor(t, request, sandbox.Choice{})
	if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
		t.Fatal(err)
	}
	b.wantNothingToConfirm(t, "of a connection that is gone", confirmation, "acme")
	if len(b.connected(t)) > 0 {
		t.Error("a disconnected connection is back")
	}
}

func TestService_ConfirmOfAnotherAccountIsRefusedAtTheCallback(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.connect(t, "youtube")
	link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ConnectionID: c.ID, ReturnURL: returnURL, Confirm: true})
	request, err := b.consent(t.Context(), "youtube", link, sandbox.Choice{Account: b.sandbox.People("youtube")[1].ID})
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if !errors.Is(err, connector.AccountMismatch) || !result.Confirmation.Empty() {
		t.Errorf("callback: %v", err)
	}
	b.wantNothingHeld(t)
}

// One link, two tabs: the second consent finds it spent, and does not end what
// the first one waits for.
func TestService_ConfirmSurvivesASecondConsentOnItsLink(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	link := b.mint(t, connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: returnURL, Confirm: true})
	var confirmation connector.Secret
	var requests []connector.CallbackRequest
	for range 2 {
		request, err := b.consent(t.Context(), "youtube", link, sandbox.Choice{})
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
	connections, err := b.Confirm(t.Context(), confirmation, "acme")
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(confirmationEnd)
	if outcomes := b.sweep(t); !slices.Contains(outcomes, connector.Expired) {
		t.Errorf("the second consent was not ended: %v", outcomes)
	}
	if _, err := b.Verify(t.Context(), connections[0].ID); err != nil {
		t.Errorf("the confirmed connection: %v", err)
	}
}

// Where the connector itself failed, the confirmation can be shown again.
func TestService_ConfirmCanBeTriedAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmation := b.hold(t, "youtube", sandbox.Choice{})
	flaky := &failingStore{Store: b.store, failing: &failing{n: 3}}
	b.Service.Store = flaky
	ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
	defer cancel()
	if _, err := b.Confirm(ctx, confirmation, "acme"); !errors.Is(err, connector.Internal) {
		t.Fatalf("with %s failing: %v", flaky.failing.what, err)
	}
	if _, err := b.Confirm(ctx, confirmation, "acme"); err != nil {
		t.Errorf("again: %v", err)
	}
}

// What anybody can write into the queue ends nothing before its time.
func TestService_ForgedMessageDoesNotEndWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmation := b.hold(t, "youtube", sandbox.Choice{})
	due, err := connectorDue(b, b.clock.Now().Add(time.Hour))
	if err != nil || len(due) != 1 {
		t.Fatalf("what waits: %v, %v", due, err)
	}
	if outcome, err := b.RefreshDue(t.Context(), due[0].ID); outcome != connector.NotDue || err != nil {
		t.Errorf("RefreshDue before its time: %v, %v", outcome, err)
	}
	if _, err := b.Confirm(t.Context(), confirmation, "acme"); err != nil {
		t.Errorf("Confirm: %v", err)
	}
}

func connectorDue(b *bench, now time.Time) (all []connector.Due, err error) {
	for shard := range connector.DueShards {
		due, err := b.store.Due(context.Background(), shard, now, 100)
		if err != nil {
			return nil, err
		}
		all = append(all, due...)
	}
	return all, nil
}

// confirmWhole mints, consents and confirms, as a product would.
func confirmWhole(ctx context.Context, b *bench, name connector.Name, account string, id connector.ID) error {
	minted, err := b.MintLink(ctx, connector.LinkRequest{Platform: name, Owner: "acme", ConnectionID: id, ReturnURL: returnURL, Confirm: true})
	if err != nil {
		return err
	}
	u, err := url.Parse(minted.URL.Reveal())
	if err != nil {
		return err
	}
	request, err := b.consent(ctx, name, connector.NewSecret(u.Path[len("/connect/"):]), sandbox.Choice{Account: account})
	if err != nil {
		return err
	}
	result, err := b.Callback(ctx, request)
	if err != nil {
		return err
	}
	_, err = b.Confirm(ctx, result.Confirmation, "acme")
	return err
}
