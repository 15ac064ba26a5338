package connector_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// TestEveryFailure fails the n-th call to a port, for every n that a use case
// makes, before the port acts and after it. Whatever it hits, the use case
// works when it is done again as a person or a caller would, no account is
// connected twice, no connection is lost, and of each change an event tells.
func TestEveryFailure(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		for _, useCase := range useCases(name) {
			t.Run(string(name)+"/"+useCase.name, func(t *testing.T) {
				t.Parallel()
				faults, events := 0, 0
				for _, after := range []bool{false, true} {
					for n := 1; ; n++ {
						done, told := failOnce(t, name, useCase, n, after)
						if done || t.Failed() {
							break
						}
						faults, events = faults+1, events+told
					}
				}
				attr(t, "faults", faults)
				attr(t, "events", events)
				attr(t, "events_lost", 0)
			})
		}
	}
}

// useCase is something that a caller does, on a connection that stands.
type useCase struct {
	name string
	// prepare brings the bench to where the use case begins.
	prepare func(t *testing.T, b *bench, c connector.Connection)
	do      func(ctx context.Context, b *bench, c connector.Connection) error
	// ends says that no connection is left, revokes that only a person can
	// mend those that are.
	ends, revokes bool
}

func useCases(name connector.Name) []useCase {
	nothing := func(*testing.T, *bench, connector.Connection) {}
	expired := func(t *testing.T, b *bench, c connector.Connection) {
		if !c.ExpiresAt.IsZero() {
			b.expire(t, c.ID)
		}
	}
	expiredImport := func(t *testing.T, b *bench, c connector.Connection) {
		_, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "acme", Credentials: b.full(t, c.ID)})
		if err != nil {
			t.Fatal(err)
		}
		expired(t, b, c)
	}
	expiredFile := func(t *testing.T, b *bench, c connector.Connection) {
		b.file = b.elsewhere(t, name, sandbox.Choice{Account: b.sandbox.People(string(name))[1].ID})
		if _, expires := b.file["token_expiry"]; expires {
			b.file.Set("token_expiry", "2026-11-22T12:00:00Z")
		}
	}
	due := func(t *testing.T, b *bench, c connector.Connection) {
		b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
	}
	cases := []useCase{
		{"connect again", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			minted, err := b.MintLink(ctx, connector.LinkRequest{Platform: name, Owner: "acme", ConnectionID: c.ID})
			if err != nil {
				return err
			}
			link := connector.NewSecret(minted.URL.Reveal()[len(publicURL+"/connect/"):])
			request, err := b.consent(ctx, name, link, sandbox.Choice{})
			if err != nil {
				return err
			}
			_, err = b.Callback(ctx, request)
			return err
		}, false, false},
		{"connect another", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			minted, err := b.MintLink(ctx, connector.LinkRequest{Platform: name, Owner: "acme"})
			if err != nil {
				return err
			}
			people := b.sandbox.People(string(name))
			request, err := b.consent(ctx, name, connector.NewSecret(minted.URL.Reveal()[len(publicURL+"/connect/"):]), sandbox.Choice{Account: people[1].ID})
			if err != nil {
				return err
			}
			_, err = b.Callback(ctx, request)
			return err
		}, false, false},
		{"confirm again", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			return confirmWhole(ctx, b, name, "", c.ID)
		}, false, false},
		{"confirm another", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			return confirmWhole(ctx, b, name, b.sandbox.People(string(name))[1].ID, "")
		}, false, false},
		{"token of an expired one", expired, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Token(ctx, connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
			return err
		}, false, false},
		// Its first exchange asks for the account, too.
		{"token of an expired import", expiredImport, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Token(ctx, connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
			return err
		}, false, false},
		{"refresh when due", due, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.HandleDue(ctx, dueKey(c.ID))
			return err
		}, false, false},
		{"sweep", due, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.QueueDue(ctx)
			return err
		}, false, false},
		{"verify", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Verify(ctx, c.ID)
			return err
		}, false, false},
		{"import of what is there", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			b.AllowFull = true
			token, err := b.Token(ctx, connector.TokenRequest{ConnectionID: c.ID, Full: true})
			if err != nil {
				return err
			}
			_, err = b.Import(ctx, connector.ImportRequest{Platform: name, Owner: "acme", Credentials: token.Full})
			return err
		}, false, false},
		{"import of a spent file", func(t *testing.T, b *bench, c connector.Connection) {
			b.file = b.fields(t, c.ID)
			b.clock.Advance(time.Minute)
			if _, err := b.Refresh(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
		}, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Import(ctx, connector.ImportRequest{Platform: name, Owner: "acme", Credentials: b.file})
			return err
		}, false, false},
		// Its verification spends the refresh token of the file.
		{"import of an expired file", expiredFile, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Import(ctx, connector.ImportRequest{Platform: name, Owner: "acme", Credentials: b.file})
			return err
		}, false, false},
		{"unverified import of an expired file", expiredFile, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Import(ctx, connector.ImportRequest{Platform: name, Owner: "acme", Credentials: b.file, SkipVerify: true})
			return err
		}, false, false},
		{"verify twins", func(t *testing.T, b *bench, c connector.Connection) {
			if name != "youtube" && name != "twitter" {
				b.twin = c.ID
				return
			}
			imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: name, Owner: "acme", Credentials: b.elsewhere(t, name, allowed), SkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			b.twin = imported.Connections[0].ID
		}, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Verify(ctx, b.twin)
			return err
		}, false, false},
		{"token while the vault takes no writes", expired, func(ctx context.Context, b *bench, c connector.Connection) error {
			writeless := b.process(connectortest.Fail(errFlaky, "Vault.Put"))
			_, err := writeless.Token(ctx, connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
			return err
		}, false, false},
		{"store the app", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			app := b.sandbox.AppOf(string(name))
			_, err := b.PutApp(ctx, name, connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)})
			return err
		}, false, false},
		{"usage", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.Reserve(ctx, c.ID, 1)
			return err
		}, false, false},
		{"suspend and resume", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			if _, err := b.Suspend(ctx, connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{ConnectionID: c.ID}, Reason: "test"}); err != nil {
				return err
			}
			list, err := b.ListSuspensions(ctx)
			for _, x := range list {
				err = errors.Join(err, b.DeleteSuspension(ctx, x.ID))
			}
			return err
		}, false, false},
		{"disconnect", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			return b.Disconnect(ctx, c.ID, false)
		}, true, false},
		{"disconnect for good", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			return b.Disconnect(ctx, c.ID, true)
		}, true, false},
	}
	switch name {
	case "facebook":
		cases = append(cases,
			useCase{"deauthorize notice", nothing, facebookNotice("deauthorize"), false, true},
			useCase{"data deletion notice", nothing, facebookNotice("data-deletion"), true, false})
	case "tiktok":
		cases = append(cases, useCase{"webhook", nothing, func(ctx context.Context, b *bench, c connector.Connection) error {
			body, signature := b.sandbox.TikTokNotice("authorization.removed", c.AccountID)
			_, err := b.TakeNotice(ctx, name, "webhook", connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body})
			return err
		}, false, true})
	}
	return cases
}

func facebookNotice(kind string) func(context.Context, *bench, connector.Connection) error {
	return func(ctx context.Context, b *bench, c connector.Connection) error {
		body := url.Values{"signed_request": {b.sandbox.SignedRequest(c.UserID)}}.Encode()
		_, err := b.TakeNotice(ctx, "facebook", kind, connector.RawNotice{
			Header: map[string]string{"content-type": "application/x-www-form-urlencoded"}, Body: []byte(body),
		})
		return err
	}
}

// failOnce runs a use case with its n-th port call failing, then again without
// failure, and checks what came of it. It reports whether the use case makes
// fewer than n calls, and how many changes were told.
func failOnce(t *testing.T, name connector.Name, u useCase, n int, after bool) (done bool, told int) {
	t.Helper()
	b := newBench(t)
	c := b.connect(t, name)
	u.prepare(t, b, c)

	f, written := &failing{n: n, after: after}, &transitions{}
	b.hook(connectortest.Chain(f.hook, written.hook))
	done = f.checkUse(t, b, c, u)
	b.clock.Advance(20 * time.Minute)
	b.sweep(t)
	lost, told := written.lost(b.events.All())
	if len(lost) > 0 {
		t.Errorf("call %d (%s, after acting: %v): nobody was told of %+v", n, f.what, after, lost)
	}
	return done, told
}

// checkUse runs the use case twice, of which one call fails, and reports whether none did.
func (f *failing) checkUse(t *testing.T, b *bench, c connector.Connection, u useCase) (done bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
	defer cancel()
	first := u.do(ctx, b, c)
	hit := f.hit
	at := fmt.Sprintf("call %d (%s, after acting: %v)", f.n, f.what, f.after)
	f.disarm()

	b.clock.Advance(30 * time.Second) // a caller's patience, and the life of a lease
	gone := first == nil || u.ends    // what is done once need not be there a second time
	if err := u.do(ctx, b, c); err != nil && !(gone && errors.Is(err, connector.ConnectionNotFound)) {
		t.Errorf("%s: done again: %v (the first time: %v)", at, err, first)
	}
	page, _, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if u.ends {
		for _, left := range page {
			if left.ID == c.ID {
				t.Errorf("%s: the connection is still there", at)
			}
		}
		if _, err := b.token(t, c.ID); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("%s: a disconnected connection: %v", at, err)
		}
		b.clock.Advance(time.Hour) // for what is left to the sweep
		b.sweep(t)
		if _, _, err := b.vault.Get(t.Context(), "connections/"+string(c.ID), ""); !errors.Is(err, connector.ErrNotFound) {
			t.Errorf("%s: its credentials are still in the vault: %v", at, err)
		}
		return !hit
	}
	accounts := map[string]bool{}
	for _, left := range page {
		if accounts[left.AccountID] {
			t.Errorf("%s: an account is connected twice", at)
		}
		accounts[left.AccountID] = true
		if u.revokes {
			if left.Status != connector.NeedsReauth {
				t.Errorf("%s: a revoked connection is %s", at, left.Status)
			}
			continue
		}
		if token, err := b.token(t, left.ID); err != nil || token.Degraded {
			t.Errorf("%s: the token afterwards: degraded %v, %v", at, token.Degraded, err)
		}
	}
	return !hit
}

// failing counts the calls of ports and fails one.
type failing struct {
	mu    sync.Mutex
	n     int
	after bool
	calls int
	hit   bool
	what  string
}

func (f *failing) disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = -1
}

// hook makes a call, or fails before or after it if it is its turn.
func (f *failing) hook(_ context.Context, call connectortest.Call, next func() error) error {
	f.mu.Lock()
	f.calls++
	turn, after := f.calls == f.n, f.after
	if turn {
		f.hit, f.what = true, call.Name
	}
	f.mu.Unlock()
	if turn && !after {
		return errFlaky
	}
	if err := next(); err != nil || !turn {
		return err
	}
	return errFlaky
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
