package connector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// owners connects the same account for n owners, and lets the tokens expire.
func (b *bench) owners(t *testing.T, name connector.Name, n int) []connector.ID {
	t.Helper()
	var ids []connector.ID
	for i := range n {
		request := b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: fmt.Sprintf("owner-%d", i)}, allowed)
		result, err := b.Callback(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, result.Connections[0].ID)
	}
	b.expire(t, ids[0])
	return ids
}

// wantHandled wants the worker to do this with a connection, after this many
// calls of the platform.
func (b *bench) wantHandled(t *testing.T, what string, id connector.ID, want connector.DueResult, calls int) {
	t.Helper()
	name := b.connection(t, id).Platform
	before := b.refreshes(name)
	if got, err := b.HandleDue(t.Context(), dueKey(id)); err != nil || got != want {
		t.Errorf("%s: %s, %v; want %s", what, got, err, want)
	}
	if n := b.refreshes(name) - before; n != calls {
		t.Errorf("%s: the platform was called %d times, want %d", what, n, calls)
	}
}

func TestBreaker_Opens(t *testing.T) {
	t.Parallel()

	t.Run("after_five_failures_in_a_row", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 7)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Outage, Times: 5})
		for i, id := range ids[:5] {
			b.wantHandled(t, fmt.Sprintf("failure %d", i+1), id, connector.Failed, 1)
		}
		b.wantHandled(t, "while it is open", ids[5], connector.Failed, 0)
		if at := b.connection(t, ids[5]).RefreshAt; !at.After(b.clock.Now()) || at.After(b.clock.Now().Add(11*time.Minute)) {
			t.Errorf("due again after %v, want some time in the next ten minutes", at.Sub(b.clock.Now()))
		}
		b.wantHandled(t, "while it is open", ids[6], connector.Failed, 0)
		b.clock.Advance(11 * time.Minute)
		b.wantHandled(t, "the probe", ids[5], connector.Refreshed, 1)
		b.wantHandled(t, "once it is closed", ids[6], connector.Refreshed, 1)
	})

	t.Run("success_in_between", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 9)
		for i, id := range ids {
			want := connector.Failed
			if i == 4 {
				want = connector.Refreshed
			} else {
				b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Outage})
			}
			b.wantHandled(t, fmt.Sprintf("call %d", i+1), id, want, 1)
		}
	})

	t.Run("at_the_first_refusal_of_the_app", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 3)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
		b.wantHandled(t, "the refusal", ids[0], connector.Failed, 1)
		b.wantHandled(t, "while it is open", ids[1], connector.Failed, 0)
		b.wantActive(t, ids[0])
		b.wantActive(t, ids[1])

		b.put(t, "youtube", b.sandbox.AppOf("youtube").ClientSecret)
		b.wantHandled(t, "once another app is stored", ids[2], connector.Refreshed, 1)
	})

	// The client may be one that the import brought. Its refusal says nothing about
	// the app, and stops no other connection.
	t.Run("not_for_the_client_of_an_import", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 1)
		fields := b.full(t, ids[0])
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "beta", Credentials: fields})
		if err != nil {
			t.Fatal(err)
		}
		id := imported.Connections[0].ID
		b.expire(t, id)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
		if _, err := b.token(t, id); !errors.Is(err, connector.AppMisconfigured) {
			t.Errorf("got %v, want %s", err, connector.AppMisconfigured)
		}
		b.wantActive(t, id)
		b.wantHandled(t, "another connection", ids[0], connector.Refreshed, 1)
	})
}

// hurried always has just too little time left to wait a second for an exchange.
type hurried struct{ context.Context }

func (hurried) Deadline() (time.Time, bool) {
	return time.Now().Add(connector.ExchangeBudget + connector.StoreBudget + time.Second/2), true
}

func TestBreaker_Probe(t *testing.T) {
	t.Parallel()

	t.Run("one_at_a_time", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 3)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
		b.wantHandled(t, "the refusal", ids[0], connector.Failed, 1)
		b.clock.Advance(11 * time.Minute)
		probing := b.withPlatform(func() {
			b.wantHandled(t, "beside the probe", ids[2], connector.Failed, 0)
		}, nil)
		if result, err := probing.HandleDue(t.Context(), dueKey(ids[1])); err != nil || result != connector.Refreshed {
			t.Errorf("the probe: %s, %v; want %s", result, err, connector.Refreshed)
		}
	})

	// Of two callers that read the open breaker at the same time, the one that is too
	// late, and has no time to wait, is told why the breaker is open.
	t.Run("two_at_once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 3)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
		b.wantHandled(t, "the refusal", ids[0], connector.Failed, 1)
		b.clock.Advance(11 * time.Minute)
		late := b.process(beforeCall("Store.PutBreaker", 1, func() {
			b.wantHandled(t, "the probe", ids[1], connector.Refreshed, 1)
		}))
		_, err := late.Token(hurried{t.Context()}, connector.TokenRequest{ConnectionID: ids[2]})
		if e := connector.AsError(err); e == nil || e.Code != connector.AppMisconfigured || e.RetryAfter != time.Second {
			t.Errorf("got %+v, again after %v, want %s, to be tried again after a second", e, e.RetryAfter, connector.AppMisconfigured)
		}
	})

	// A probe that crashed is repeated once its time is over.
	t.Run("crashed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		ids := b.owners(t, "youtube", 3)
		b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
		b.wantHandled(t, "the refusal", ids[0], connector.Failed, 1)
		b.clock.Advance(11 * time.Minute)
		probing := b.withPlatform(func() { panic(crash{}) }, nil)
		wantCrash(t, func() { probing.HandleDue(t.Context(), dueKey(ids[1])) })
		b.clock.Advance(12 * time.Second)
		b.wantHandled(t, "the next probe", ids[2], connector.Refreshed, 1)
	})
}

// troubledPlatform refuses the refreshes of some credentials.
type troubledPlatform struct {
	connector.Platform
	troubled func(connector.Credentials) bool
	answer   *connector.Error
}

func (p troubledPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if p.troubled(c) {
		return connector.Credentials{}, p.answer
	}
	return p.Platform.Refresh(ctx, app, c)
}

// A platform that refuses or throttles one owner's connections, whatever client
// they use, delays no other owner's refresh.
func TestBreaker_TroubleOfOneOwner(t *testing.T) {
	t.Parallel()
	const connections, rounds = 12, 40

	imported := func(client string) func(*testing.T, *bench) []connector.ID {
		return func(t *testing.T, b *bench) (ids []connector.ID) {
			for i := range connections {
				fields := connector.Fields{}
				fields.Set("access_token", fmt.Sprintf("troubled-%d", i))
				fields.Set("refresh_token", fmt.Sprintf("troubled-%d", i))
				switch client {
				case "":
				case "the-apps":
					fields.Set("client_id", b.sandbox.AppOf("youtube").ClientID)
					fields.Set("client_secret", "made-up")
				default:
					fields.Set("client_id", client)
					fields.Set("client_secret", "made-up")
				}
				imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "mallory", Credentials: fields, SkipVerify: true})
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, imported.Connections[0].ID)
			}
			return ids
		}
	}
	consented := func(t *testing.T, b *bench) []connector.ID {
		request := b.consentedTo(t, connector.LinkRequest{Platform: "youtube", Owner: "mallory"}, allowed)
		result, err := b.Callback(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		return []connector.ID{result.Connections[0].ID}
	}
	bringers := map[string]func(*testing.T, *bench) []connector.ID{
		"client_of_an_import":       imported("client-of-mallory"),
		"apps_client_of_an_import":  imported("the-apps"),
		"app_of_an_import":          imported(""),
		"consent_of_one_connection": consented,
	}
	answers := map[string]*connector.Error{
		"throttled":   {Code: connector.RateLimited},
		"failing":     {Code: connector.PlatformUnavailable},
		"not_allowed": {Code: connector.AppMisconfigured, ClientRefused: true},
	}
	for name, bring := range bringers {
		for trouble, answer := range answers {
			if name == "consent_of_one_connection" && answer.Code == connector.AppMisconfigured {
				continue // the platform refuses the app, which concerns everybody
			}
			t.Run(name+"/"+trouble, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				honest := b.owners(t, "youtube", 1)[0]
				ids := bring(t, b)
				var consented connector.Secret
				if name == "consent_of_one_connection" {
					consented = b.full(t, ids[0])["refresh_token"]
				}
				wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform {
					return troubledPlatform{p, func(c connector.Credentials) bool {
						shown := c.Fields["refresh_token"]
						return shown.Equal(consented) || strings.HasPrefix(shown.Reveal(), "troubled-")
					}, answer}
				})
				failed := 0
				for range rounds {
					for n := range connections {
						b.Refresh(t.Context(), ids[n%len(ids)])
						b.clock.Advance(time.Minute)
					}
					b.expire(t, honest)
					if _, err := b.token(t, honest); err != nil {
						failed++
					}
				}
				if failed > 0 {
					t.Errorf("%d of %d expired tokens of another owner could not be refreshed", failed, rounds)
				}
			})
		}
	}
}

// The connections of one owner whom the platform does not serve cost few calls.
func TestBreaker_OneOwnerDuringOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var ids []connector.ID
	for i := range 20 {
		fields := connector.Fields{}
		fields.Set("access_token", fmt.Sprintf("access-%d", i))
		fields.Set("refresh_token", fmt.Sprintf("refresh-%d", i))
		imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "acme", Credentials: fields, SkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, imported.Connections[0].ID)
	}
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Outage, Times: 100})
	for _, id := range ids {
		if _, err := b.token(t, id); !errors.Is(err, connector.PlatformUnavailable) {
			t.Errorf("got %v, want %s", err, connector.PlatformUnavailable)
		}
	}
	if n := b.refreshes("youtube"); n > 10 {
		t.Errorf("the platform was called %d times", n)
	}
}

// Records of the previous release do not name the client of their credentials. The
// first attempt finds it, and counts for that client.
func TestBreaker_ClientNotRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	honest := b.owners(t, "youtube", 1)[0]
	fields := connector.Fields{}
	for name, value := range map[string]string{"access_token": "a", "refresh_token": "r", "client_id": "own", "client_secret": "own"} {
		fields.Set(name, value)
	}
	imported, err := b.Import(t.Context(), connector.ImportRequest{Platform: "youtube", Owner: "mallory", Credentials: fields, SkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	id := imported.Connections[0].ID
	b.change(t, id, func(c *connector.Connection) { c.Client = "" })
	b.expire(t, honest)
	b.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.WrongClient})
	if _, err := b.token(t, id); !errors.Is(err, connector.AppMisconfigured) {
		t.Errorf("got %v, want %s", err, connector.AppMisconfigured)
	}
	b.wantHandled(t, "another owner's connection", honest, connector.Refreshed, 1)
	if c := b.connection(t, id); c.Client == "" {
		t.Error("the record still does not name the client")
	}
}
