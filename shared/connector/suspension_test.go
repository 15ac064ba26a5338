package connector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// suspend creates a suspension for a reason.
func (b *bench) suspend(t *testing.T, target connector.SuspensionTarget, rest bool) connector.Suspension {
	t.Helper()
	x, err := b.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: target, Reason: "incident 42", Rest: rest})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// resume deletes a suspension.
func (b *bench) resume(t *testing.T, x connector.Suspension) {
	t.Helper()
	if err := b.DeleteSuspension(t.Context(), x.ID); err != nil {
		t.Fatal(err)
	}
}

// targets are the ways to suspend a connection, and those that cover another one.
func targets(c connector.Connection) (covering, other map[string]connector.SuspensionTarget) {
	return map[string]connector.SuspensionTarget{
			"connection": {ConnectionID: c.ID},
			"owner":      {Owner: c.Owner},
			"platform":   {Platform: c.Platform},
			"all":        {All: true},
		}, map[string]connector.SuspensionTarget{
			"owner":    {Owner: c.Owner + " and more"},
			"platform": {Platform: "facebook"},
		}
}

func TestService_Suspend(t *testing.T) {
	t.Parallel()
	t.Run("request_is_checked", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		type target = connector.SuspensionTarget
		for _, row := range []struct {
			name   string
			target target
			reason string
			want   error // nil: accepted
			names  string
		}{
			{"connection", target{ConnectionID: c.ID}, "x", nil, ""},
			{"owner without connections", target{Owner: "nobody"}, "x", nil, ""},
			{"platform", target{Platform: "tiktok"}, "x", nil, ""},
			{"all", target{All: true}, "x", nil, ""},
			{"longest reason", target{All: true}, strings.Repeat("ü", 256), nil, ""},
			{"nothing", target{}, "x", connector.InvalidRequest, "exactly one of connection_id"},
			{"two", target{Owner: "acme", Platform: "youtube"}, "x", connector.InvalidRequest, "exactly one of"},
			{"all and one", target{All: true, Owner: "acme"}, "x", connector.InvalidRequest, "exactly one of"},
			{"all four", target{ConnectionID: c.ID, All: true, Owner: "acme", Platform: "youtube"}, "x", connector.InvalidRequest, "exactly one of"},
			{"unknown connection", target{ConnectionID: "00000000-0000-4000-8000-000000000000"}, "x", connector.ConnectionNotFound, ""},
			{"no id", target{ConnectionID: "acme"}, "x", connector.ConnectionNotFound, ""},
			{"unknown platform", target{Platform: "myspace"}, "x", connector.InvalidRequest, "platform: "},
			{"owner that cannot be printed", target{Owner: "a\nb"}, "x", connector.InvalidRequest, "owner: "},
			{"owner that is too long", target{Owner: strings.Repeat("a", 129)}, "x", connector.InvalidRequest, "owner: "},
			{"no reason", target{All: true}, "", connector.InvalidRequest, "reason: "},
			{"reason with a line end", target{All: true}, "a\nb", connector.InvalidRequest, "reason: "},
			{"reason that is too long", target{All: true}, strings.Repeat("a", 257), connector.InvalidRequest, "reason: "},
		} {
			x, err := b.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: row.target, Reason: row.reason, CreatedBy: "arn"})
			if !errors.Is(err, row.want) || err != nil && !strings.Contains(connector.AsError(err).Message, row.names) {
				t.Errorf("%s: %v, want %v that names %q", row.name, err, row.want, row.names)
			}
			if err != nil {
				continue
			}
			want := connector.Suspension{ID: x.ID, SuspensionTarget: row.target, Reason: row.reason, CreatedAt: noon, CreatedBy: "arn"}
			if got, err := b.Suspension(t.Context(), x.ID); err != nil || got != want || x != want || !x.ID.Valid() {
				t.Errorf("%s: %+v, read as %+v, %v, want %+v", row.name, x, got, err, want)
			}
		}
		if list, err := b.ListSuspensions(t.Context()); err != nil || len(list) != 5 {
			t.Errorf("%d suspensions, %v, want 5", len(list), err)
		}
	})
	t.Run("deleted_once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		first, second := b.suspend(t, connector.SuspensionTarget{All: true}, false), b.suspend(t, connector.SuspensionTarget{All: true}, true)
		b.resume(t, first)
		for _, id := range []connector.ID{first.ID, "00000000-0000-4000-8000-000000000000", ""} {
			if err := b.DeleteSuspension(t.Context(), id); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("deleting %q: %v", id, err)
			}
			if _, err := b.Suspension(t.Context(), id); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("reading %q: %v", id, err)
			}
		}
		if list, err := b.ListSuspensions(t.Context()); err != nil || !slices.Equal(list, []connector.Suspension{second}) {
			t.Errorf("left are %+v, %v, want the second one", list, err)
		}
	})
	// A confined caller must neither suspend others nor undo what the operator
	// suspended, and learns nothing of it.
	t.Run("confined_caller", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		x := b.suspend(t, connector.SuspensionTarget{Owner: "acme"}, false)
		var calls atomic.Int32
		b.hook(func(_ context.Context, _ connectortest.Call, next func() error) error {
			calls.Add(1)
			return next()
		})
		confined := connector.Confine(t.Context(), connector.OnlyOwners("acme"))
		covering, _ := targets(c)
		for name, target := range covering {
			if _, err := b.Suspend(confined, connector.SuspensionRequest{SuspensionTarget: target, Reason: "x"}); !errors.Is(err, connector.InvalidRequest) {
				t.Errorf("suspending by %s: %v", name, err)
			}
		}
		_, listErr := b.ListSuspensions(confined)
		_, readErr := b.Suspension(confined, x.ID)
		for name, err := range map[string]error{"delete": b.DeleteSuspension(confined, x.ID), "list": listErr, "read": readErr} {
			if !errors.Is(err, connector.InvalidRequest) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := calls.Load(); n > 0 {
			t.Errorf("%d calls of ports, want none", n)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		t.Parallel()
		for name, row := range map[string]struct{ owner, reason, by string }{
			"number": {"o", "x", ""},
			"size":   {strings.Repeat("ü", 128), strings.Repeat("ü", 256), strings.Repeat("a", 1000)},
		} {
			b := newBench(t)
			request := connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{Owner: row.owner}, Reason: row.reason, CreatedBy: row.by}
			n := 0
			var refused error
			for ; n < 1000 && refused == nil; n++ {
				_, refused = b.Suspend(t.Context(), request)
			}
			if !errors.Is(refused, connector.InvalidRequest) || !strings.Contains(refused.Error(), "suspensions: there are") || n < 80 || n > 501 {
				t.Errorf("%s: after %d: %v", name, n, refused)
			}
			// The operator can still suspend everything.
			all, err := b.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{All: true}, Reason: strings.Repeat("ü", 256), CreatedBy: strings.Repeat("a", 1000)})
			if err != nil {
				t.Errorf("%s: suspending all: %v", name, err)
			}
			for i := 0; i < 1000 && err == nil; i++ {
				_, err = b.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{All: true}, Reason: "x"})
			}
			if !errors.Is(err, connector.InvalidRequest) {
				t.Errorf("%s: suspending all again and again: %v", name, err)
			}
			b.resume(t, all)
		}
	})
	t.Run("concurrent_callers_lose_nothing", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				x, err := b.process(nil).Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{Owner: fmt.Sprint(i)}, Reason: "x"})
				if err == nil && i%2 == 0 {
					err = b.process(nil).DeleteSuspension(t.Context(), x.ID)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if list, err := b.ListSuspensions(t.Context()); err != nil || len(list) != 10 {
			t.Errorf("%d suspensions, %v, want 10", len(list), err)
		}
	})
	t.Run("lost_answer", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		lost := b.process(connectortest.On("Store.PutSuspensions", func(n int, next func() error) error {
			if err := next(); err != nil || n%2 == 0 {
				return err
			}
			return errFlaky
		}))
		x, err := lost.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{All: true}, Reason: "x"})
		if list, _ := b.ListSuspensions(t.Context()); err != nil || len(list) != 1 || list[0].ID != x.ID {
			t.Errorf("suspended %+v, %v; there are %+v", x, err, list)
		}
		lost = b.process(connectortest.On("Store.PutSuspensions", func(n int, next func() error) error {
			if err := next(); err != nil || n > 1 {
				return err
			}
			return errFlaky
		}))
		err = lost.DeleteSuspension(t.Context(), x.ID)
		if list, _ := b.ListSuspensions(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("deleting: %v; there are %+v", err, list)
		}
	})
	t.Run("store_fails", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		for _, name := range []string{"Store.Suspensions", "Store.PutSuspensions"} {
			_, err := b.process(connectortest.Fail(errFlaky, name)).Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: connector.SuspensionTarget{All: true}, Reason: "x"})
			if !errors.Is(err, connector.Internal) || !errors.Is(err, errFlaky) {
				t.Errorf("%s fails: %v", name, err)
			}
		}
	})
}

// Whatever covers a connection withholds its token, in every form in which a
// caller can ask for it, and its deletion gives it back.
func TestService_Token_Suspended(t *testing.T) {
	t.Parallel()
	requests := map[string]func(connector.Connection) connector.TokenRequest{
		"id": func(c connector.Connection) connector.TokenRequest { return connector.TokenRequest{ConnectionID: c.ID} },
		"platform": func(c connector.Connection) connector.TokenRequest {
			return connector.TokenRequest{Owner: c.Owner, Platform: c.Platform}
		},
		"account": func(c connector.Connection) connector.TokenRequest {
			return connector.TokenRequest{Owner: c.Owner, Platform: c.Platform, AccountID: c.AccountID}
		},
		"force_refresh": func(c connector.Connection) connector.TokenRequest {
			return connector.TokenRequest{ConnectionID: c.ID, ForceRefresh: true}
		},
		"full": func(c connector.Connection) connector.TokenRequest {
			return connector.TokenRequest{ConnectionID: c.ID, Full: true}
		},
		"min_ttl": func(c connector.Connection) connector.TokenRequest {
			return connector.TokenRequest{ConnectionID: c.ID, MinTTL: time.Hour}
		},
	}
	for _, rest := range []bool{false, true} {
		for _, platform := range []connector.Name{"youtube", "twitter"} {
			t.Run(fmt.Sprintf("%s/rest_%t", platform, rest), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c := b.connect(t, platform)
				covering, other := targets(c)
				for name, target := range covering {
					x := b.suspend(t, target, rest)
					before := b.refreshes(platform)
					for form, request := range requests {
						token, err := b.Token(t.Context(), request(c))
						if !errors.Is(err, connector.Suspended) || !strings.Contains(connector.AsError(err).Message, "incident 42") || !token.AccessToken.Empty() || token.Full != nil {
							t.Errorf("suspended by %s, token by %s: %v", name, form, err)
						}
					}
					if n := b.refreshes(platform) - before; n > 0 {
						t.Errorf("suspended by %s: token-get called the platform %d times", name, n)
					}
					if shown, covered, err := b.SuspensionOf(t.Context(), c); err != nil || !covered || shown != x {
						t.Errorf("suspended by %s: shown is %+v, %v, %v", name, shown, covered, err)
					}
					b.resume(t, x)
					for form, request := range requests {
						if _, err := b.Token(t.Context(), request(c)); err != nil {
							t.Errorf("after the suspension by %s, token by %s: %v", name, form, err)
						}
						b.clock.Advance(time.Minute) // forced refreshes are limited
					}
				}
				for name, target := range other {
					b.suspend(t, target, rest)
					if _, err := b.token(t, c.ID); err != nil {
						t.Errorf("another %s is suspended: %v", name, err)
					}
				}
				if _, covered, err := b.SuspensionOf(t.Context(), c); err != nil || covered {
					t.Errorf("others are suspended: covered %v, %v", covered, err)
				}
			})
		}
	}
	t.Run("another_owners_looks_absent", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.suspend(t, connector.SuspensionTarget{All: true}, false)
		confined := connector.Confine(t.Context(), connector.OnlyOwners("globex"))
		for form, request := range requests {
			if _, err := b.Token(confined, request(c)); !errors.Is(err, connector.ConnectionNotFound) {
				t.Errorf("by %s: %v", form, err)
			}
		}
		own := connector.Confine(t.Context(), connector.OnlyOwners("acme"))
		if _, err := b.Token(own, connector.TokenRequest{ConnectionID: c.ID}); !errors.Is(err, connector.Suspended) {
			t.Errorf("its own: %v", err)
		}
	})
	t.Run("disconnected_looks_absent", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "youtube")
		b.suspend(t, connector.SuspensionTarget{All: true}, true)
		if err := b.Disconnect(t.Context(), c.ID, false); err != nil {
			t.Fatalf("a suspended connection cannot be disconnected: %v", err)
		}
		if _, err := b.token(t, c.ID); !errors.Is(err, connector.ConnectionNotFound) {
			t.Errorf("got %v, want %v", err, connector.ConnectionNotFound)
		}
	})
	// A person's consent is never lost, and hands out nothing.
	t.Run("consent_and_import_are_saved", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		standing := b.connect(t, "tiktok")
		full := b.full(t, standing.ID)
		x := b.suspend(t, connector.SuspensionTarget{Owner: "acme"}, true)
		consented := b.connect(t, "youtube")
		confirmed := b.consentedTo(t, connector.LinkRequest{Platform: "twitter", Owner: "acme", ReturnURL: returnURL, Confirm: true}, allowed)
		result, err := b.Callback(t.Context(), confirmed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Confirm(t.Context(), result.Confirmation, "acme"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Import(t.Context(), connector.ImportRequest{Platform: "tiktok", Owner: "acme", Credentials: full}); err != nil {
			t.Fatal(err)
		}
		if err := b.reauthorize(t, "youtube", consented.ID); err != nil {
			t.Fatal(err)
		}
		connections := b.connected(t)
		if len(connections) != 3 {
			t.Fatalf("%d connections, want 3", len(connections))
		}
		for _, c := range connections {
			if _, err := b.token(t, c.ID); !errors.Is(err, connector.Suspended) {
				t.Errorf("%s: %v", c.Platform, err)
			}
		}
		b.resume(t, x)
		for _, c := range connections {
			if _, err := b.token(t, c.ID); err != nil {
				t.Errorf("%s, afterwards: %v", c.Platform, err)
			}
		}
	})
}

// With rest the platform is not called, and nothing is lost: what was due is
// refreshed when the suspension is deleted. Without it refreshes continue.
func TestService_Suspend_Rest(t *testing.T) {
	t.Parallel()
	calls := map[string]func(*testing.T, *bench, connector.ID) error{
		"worker": func(t *testing.T, b *bench, id connector.ID) error {
			result, err := b.HandleDue(t.Context(), dueKey(id))
			if err == nil && result == connector.Resting {
				return connector.Suspended
			}
			return err
		},
		"refresh": func(t *testing.T, b *bench, id connector.ID) error {
			_, err := b.Refresh(t.Context(), id)
			return err
		},
		"verify": func(t *testing.T, b *bench, id connector.ID) error {
			_, err := b.Verify(t.Context(), id)
			return err
		},
	}
	for name, call := range calls {
		for _, platform := range []connector.Name{"youtube", "twitter", "tiktok"} {
			t.Run(name+"/"+string(platform), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				c := b.connect(t, platform)
				b.clock.Advance(c.RefreshAt.Sub(b.clock.Now()) + time.Second)
				covering, other := targets(c)
				count := func() int { return len(b.sandbox.Calls(string(platform), "")) }
				for by, target := range covering {
					x := b.suspend(t, target, true)
					before, record := count(), b.connection(t, c.ID)
					if err := call(t, b, c.ID); !errors.Is(err, connector.Suspended) {
						t.Errorf("resting by %s: %v", by, err)
					}
					if n := count() - before; n > 0 {
						t.Errorf("resting by %s: %d calls of the platform", by, n)
					}
					if now := b.connection(t, c.ID); now.Revision != record.Revision {
						t.Errorf("resting by %s: the record was written", by)
					}
					b.resume(t, x)
				}
				for by, target := range covering {
					b.suspend(t, target, false)
					b.change(t, c.ID, func(c *connector.Connection) { c.RefreshAt = b.clock.Now() })
					before := count()
					if err := call(t, b, c.ID); err != nil {
						t.Errorf("suspended by %s without rest: %v", by, err)
					}
					if count() == before {
						t.Errorf("suspended by %s without rest: the platform was not called", by)
					}
					b.clock.Advance(time.Minute)
				}
				for _, target := range other {
					b.suspend(t, target, true)
				}
				b.change(t, c.ID, func(c *connector.Connection) { c.RefreshAt = b.clock.Now() })
				if err := call(t, b, c.ID); err != nil {
					t.Errorf("others rest: %v", err)
				}
			})
		}
	}
	t.Run("stays_due", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		x := b.suspend(t, connector.SuspensionTarget{Platform: "twitter"}, true)
		for range 20 { // more than any limit of attempts or receives
			b.clock.Advance(max(0, b.connection(t, c.ID).RefreshAt.Sub(b.clock.Now())) + connector.ClaimLife + time.Second)
			b.wantSwept(t, "resting", connector.Resting)
		}
		if now := b.connection(t, c.ID); now.Failures != 0 || now.Status != connector.Active || b.refreshes("twitter") != 0 {
			t.Errorf("%d failures, %s, %d refreshes", now.Failures, now.Status, b.refreshes("twitter"))
		}
		b.resume(t, x)
		b.clock.Advance(connector.ClaimLife + time.Second)
		b.wantSwept(t, "afterwards", connector.Refreshed)
	})
	// A suspension that is created while a refresh waits or is about to be sent.
	t.Run("before_the_exchange", func(t *testing.T) {
		t.Parallel()
		b, id := expired(t, "twitter")
		other := b.process(beforeCall("Store.Update", 1, func() { // the lease
			b.suspend(t, connector.SuspensionTarget{All: true}, true)
			b.clock.Advance(time.Second)
		}))
		if _, err := other.Refresh(t.Context(), id); !errors.Is(err, connector.Suspended) {
			t.Errorf("got %v, want %v", err, connector.Suspended)
		}
		if n := b.refreshes("twitter"); n != 0 {
			t.Errorf("the platform was called %d times", n)
		}
		if c := b.connection(t, id); c.Lease.Holder != "" || c.Attempt.Uncertain || c.Failures != 0 {
			t.Errorf("the record has %+v, %+v, %d failures", c.Lease, c.Attempt, c.Failures)
		}
	})
	// The person or the operator ends it all the same.
	t.Run("disconnection_revokes", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		c := b.connect(t, "twitter")
		b.suspend(t, connector.SuspensionTarget{All: true}, true)
		if err := b.Disconnect(t.Context(), c.ID, true); err != nil {
			t.Fatal(err)
		}
		if b.revocations("twitter") == 0 {
			t.Error("nothing was revoked")
		}
		b.wantNoSecret(t, "a suspended connection", c.ID)
	})
}

// Where an owner has several accounts, none of them is handed out either.
func TestService_Token_SuspendedPages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	link := b.mint(t, connector.LinkRequest{Platform: sandbox.Facebook, Owner: "acme"})
	request, err := b.consent(t.Context(), sandbox.Facebook, link, allowed)
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil || len(result.Connections) < 2 {
		t.Fatalf("%d connections, %v", len(result.Connections), err)
	}
	first, second := result.Connections[0], result.Connections[1]
	several := connector.TokenRequest{Owner: "acme", Platform: sandbox.Facebook}
	for by, target := range map[string]connector.SuspensionTarget{"owner": {Owner: "acme"}, "platform": {Platform: sandbox.Facebook}, "all": {All: true}} {
		x := b.suspend(t, target, false)
		if _, err := b.Token(t.Context(), several); !errors.Is(err, connector.Suspended) {
			t.Errorf("suspended by %s, any of them: %v", by, err)
		}
		b.resume(t, x)
	}
	if _, err := b.Token(t.Context(), several); !errors.Is(err, connector.AmbiguousConnection) {
		t.Errorf("any of them: %v", err)
	}
	b.suspend(t, connector.SuspensionTarget{ConnectionID: first.ID}, false)
	for want, c := range map[connector.Code]connector.Connection{connector.Suspended: first, "": second} {
		_, err := b.Token(t.Context(), connector.TokenRequest{Owner: "acme", Platform: sandbox.Facebook, AccountID: c.AccountID})
		if want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %q", c.AccountName, err, want)
		}
	}
}

// A suspension that comes while a request is signed withholds the signature.
func TestService_Sign_Suspended(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	fields := connector.Fields{}
	for _, name := range []string{"api_key", "api_secret", "access_token", "access_token_secret"} {
		fields.Set(name, "1500000000000000009-made-up")
	}
	imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "twitter", Owner: "acme", Credentials: fields, SkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	request := connector.SignRequest{ConnectionID: imported.Connections[0].ID, Method: "GET", URL: "https://api.x.com/2/users/me"}
	if _, err := b.Sign(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	signing := b.process(afterCall("Vault.Get", 1, func() {
		target := connector.SuspensionTarget{Owner: "acme"}
		if _, err := b.Suspend(t.Context(), connector.SuspensionRequest{SuspensionTarget: target, Reason: "a test"}); err != nil {
			t.Error(err)
		}
	}))
	signing.SuspensionCache = nil
	if _, err := signing.Sign(t.Context(), request); !errors.Is(err, connector.Suspended) {
		t.Errorf("got %v, want %s", err, connector.Suspended)
	}
}
