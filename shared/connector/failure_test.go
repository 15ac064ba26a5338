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
// connected twice, and no connection is lost.
func TestEveryFailure(t *testing.T) {
	t.Parallel()
	for _, name := range []connector.Name{"facebook", "youtube", "twitter", "tiktok"} {
		for _, useCase := range useCases(name) {
			t.Run(string(name)+"/"+useCase.name, func(t *testing.T) {
				t.Parallel()
				faults := 0
				for _, after := range []bool{false, true} {
					for n := 1; ; n++ {
						if done := failOnce(t, name, useCase, n, after); done || t.Failed() {
							break
						}
						faults++
					}
				}
				attr(t, "faults", faults)
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
		{"refresh when due", due, func(ctx context.Context, b *bench, c connector.Connection) error {
			_, err := b.RefreshDue(ctx, c.ID)
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
		{"token while the vault takes no writes", expired, func(ctx context.Context, b *bench, c connector.Connection) error {
			vault := b.Service.Vault
			b.Service.Vault = writeless{vault}
			defer func() { b.Service.Vault = vault }()
			_, err := b.Token(ctx, connector.TokenRequest{ConnectionID: c.ID, MinTTL: connector.DefaultMinTTL})
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

// writeless is a vault that can be read.
type writeless struct{ connector.Vault }

func (writeless) Put(context.Context, string, connector.Secret) (string, error) {
	return "", errFlaky
}

// failOnce runs a use case with its n-th port call failing, then again without
// failure, and checks what came of it. It reports whether the use case makes
// fewer than n calls.
func failOnce(t *testing.T, name connector.Name, u useCase, n int, after bool) (done bool) {
	t.Helper()
	b := newBench(t)
	c := b.connect(t, name)
	u.prepare(t, b, c)

	f := &failing{n: n, after: after}
	b.Service.Store = &failingStore{Store: b.store, failing: f}
	b.Service.Vault = &failingVault{Vault: b.vault, failing: f}
	b.Service.Sealer = &failingSealer{Sealer: connectortest.Sealer{}, failing: f}
	b.Service.Queue = &failingQueue{Queue: b.queue, failing: f}
	b.Service.Events = &failingEvents{Events: b.events, failing: f}
	ctx, cancel := context.WithTimeout(t.Context(), 29*time.Second)
	defer cancel()
	first := u.do(ctx, b, c)
	hit := f.hit
	f.disarm()
	at := fmt.Sprintf("call %d (%s, after acting: %v)", n, f.what, after)

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

// call runs a port's method, or fails around it if it is its turn.
func call[T any](f *failing, what string, act func() (T, error)) (T, error) {
	var zero T
	f.mu.Lock()
	f.calls++
	turn := f.calls == f.n
	if turn {
		f.hit, f.what = true, what
	}
	after := f.after
	f.mu.Unlock()
	if turn && !after {
		return zero, errFlaky
	}
	result, err := act()
	if turn && err == nil {
		return zero, errFlaky
	}
	return result, err
}

func callOnly(f *failing, what string, act func() error) error {
	_, err := call(f, what, func() (struct{}, error) { return struct{}{}, act() })
	return err
}

type failingStore struct {
	connector.Store
	failing *failing
}

func (s *failingStore) Connection(ctx context.Context, id connector.ID) (connector.Connection, error) {
	return call(s.failing, "Connection", func() (connector.Connection, error) { return s.Store.Connection(ctx, id) })
}

func (s *failingStore) FindAccount(ctx context.Context, owner string, platform connector.Name, accountID string) (connector.Connection, error) {
	return call(s.failing, "FindAccount", func() (connector.Connection, error) {
		return s.Store.FindAccount(ctx, owner, platform, accountID)
	})
}

func (s *failingStore) UserConnections(ctx context.Context, platform connector.Name, userID string) ([]connector.Connection, error) {
	return call(s.failing, "UserConnections", func() ([]connector.Connection, error) {
		return s.Store.UserConnections(ctx, platform, userID)
	})
}

func (s *failingStore) Create(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	return call(s.failing, "Create", func() (connector.Connection, error) { return s.Store.Create(ctx, c) })
}

func (s *failingStore) Update(ctx context.Context, c connector.Connection) (connector.Connection, error) {
	return call(s.failing, "Update", func() (connector.Connection, error) { return s.Store.Update(ctx, c) })
}

func (s *failingStore) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	return call(s.failing, "Due", func() ([]connector.Due, error) { return s.Store.Due(ctx, shard, now, limit) })
}

func (s *failingStore) Claim(ctx context.Context, d connector.Due, until time.Time) error {
	return callOnly(s.failing, "Claim", func() error { return s.Store.Claim(ctx, d, until) })
}

func (s *failingStore) PutTicket(ctx context.Context, ticket connector.Ticket) error {
	return callOnly(s.failing, "PutTicket", func() error { return s.Store.PutTicket(ctx, ticket) })
}

func (s *failingStore) Ticket(ctx context.Context, kind connector.TicketKind, hash string, now time.Time) (connector.Ticket, error) {
	return call(s.failing, "Ticket", func() (connector.Ticket, error) { return s.Store.Ticket(ctx, kind, hash, now) })
}

func (s *failingStore) TakeTicket(ctx context.Context, kind connector.TicketKind, hash, bound string, now time.Time) (connector.Ticket, error) {
	return call(s.failing, "TakeTicket", func() (connector.Ticket, error) {
		return s.Store.TakeTicket(ctx, kind, hash, bound, now)
	})
}

func (s *failingStore) Reserve(ctx context.Context, counter string, n, limit int, expiresAt time.Time) (int, error) {
	return call(s.failing, "Reserve", func() (int, error) { return s.Store.Reserve(ctx, counter, n, limit, expiresAt) })
}

func (s *failingStore) Delete(ctx context.Context, id connector.ID, revision int64) error {
	return callOnly(s.failing, "Delete", func() error { return s.Store.Delete(ctx, id, revision) })
}

func (s *failingStore) Breaker(ctx context.Context, platform connector.Name) (connector.Breaker, error) {
	return call(s.failing, "Breaker", func() (connector.Breaker, error) { return s.Store.Breaker(ctx, platform) })
}

func (s *failingStore) PutBreaker(ctx context.Context, b connector.Breaker) (connector.Breaker, error) {
	return call(s.failing, "PutBreaker", func() (connector.Breaker, error) { return s.Store.PutBreaker(ctx, b) })
}

type failingVault struct {
	connector.Vault
	failing *failing
}

func (v *failingVault) Put(ctx context.Context, name string, value connector.Secret) (string, error) {
	return call(v.failing, "Put", func() (string, error) { return v.Vault.Put(ctx, name, value) })
}

func (v *failingVault) Get(ctx context.Context, name, version string) (connector.Secret, string, error) {
	type got struct {
		value   connector.Secret
		version string
	}
	g, err := call(v.failing, "Get", func() (got, error) {
		value, version, err := v.Vault.Get(ctx, name, version)
		return got{value, version}, err
	})
	return g.value, g.version, err
}

func (v *failingVault) Delete(ctx context.Context, name string, purge bool) error {
	return callOnly(v.failing, "Delete", func() error { return v.Vault.Delete(ctx, name, purge) })
}

type failingSealer struct {
	connector.Sealer
	failing *failing
}

func (s *failingSealer) Prepare(ctx context.Context) error {
	return callOnly(s.failing, "Prepare", func() error { return s.Sealer.Prepare(ctx) })
}

func (s *failingSealer) Seal(ctx context.Context, plain connector.Secret, purpose string) ([]byte, error) {
	return call(s.failing, "Seal", func() ([]byte, error) { return s.Sealer.Seal(ctx, plain, purpose) })
}

func (s *failingSealer) Open(ctx context.Context, sealed []byte, purpose string) (connector.Secret, error) {
	return call(s.failing, "Open", func() (connector.Secret, error) { return s.Sealer.Open(ctx, sealed, purpose) })
}

type failingQueue struct {
	connector.Queue
	failing *failing
}

func (q *failingQueue) Enqueue(ctx context.Context, ids []connector.ID, after time.Duration) ([]connector.ID, error) {
	return call(q.failing, "Enqueue", func() ([]connector.ID, error) { return q.Queue.Enqueue(ctx, ids, after) })
}

type failingEvents struct {
	connector.Events
	failing *failing
}

func (e *failingEvents) Publish(ctx context.Context, events ...connector.Event) error {
	return callOnly(e.failing, "Publish", func() error { return e.Events.Publish(ctx, events...) })
}
