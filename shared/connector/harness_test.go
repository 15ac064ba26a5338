package connector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

const (
	publicURL = "https://connect.example.com"
	returnURL = "https://product.example.com/done"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bench is a service over ports in memory and sandbox platforms. Its clock
// moves when the service sleeps or a test says so.
type bench struct {
	*connector.Service
	clock   *connectortest.Clock
	ports   connectortest.Ports
	store   *connectortest.Store
	vault   *connectortest.Vault
	queue   *connectortest.Queue
	events  *connectortest.Events
	sandbox *sandbox.Sandbox
	hooked  connectortest.Hook

	file connector.Fields // that a use case imports
	twin connector.ID     // a stand-in beside the connection to its account
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		clock:  connectortest.NewClock(noon),
		store:  connectortest.NewStore(),
		vault:  connectortest.NewVault(),
		queue:  connectortest.NewQueue(),
		events: connectortest.NewEvents(),
	}
	b.ports = connectortest.Ports{Store: b.store, Vault: b.vault, Sealer: connectortest.Sealer{}, Queue: b.queue, Events: b.events}
	names := []string{sandbox.Facebook, sandbox.YouTube, sandbox.Twitter, sandbox.TikTok}
	uris := map[string][]string{}
	for _, name := range names {
		uris[name] = []string{publicURL + "/oauth/" + name + "/callback"}
	}
	b.sandbox = sandbox.New(sandbox.Options{Now: b.clock.Now, RedirectURIs: uris})
	server := httptest.NewServer(b.sandbox)
	t.Cleanup(server.Close)
	b.Service = &connector.Service{
		Platforms: platform.All(platform.Options{HTTP: server.Client(), Endpoints: sandbox.Endpoints(server.URL), Now: b.clock.Now}),
		Now:       b.clock.Now,
		Random:    rand.NewChaCha8([32]byte{1}),
		Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		Sleep: func(ctx context.Context, d time.Duration) error {
			b.clock.Advance(d)
			return ctx.Err()
		},
		PublicURL:     publicURL,
		ReturnOrigins: []string{"https://product.example.com"},
		AllowFull:     true,
		// Without a SuspensionCache all calls of a port come from the goroutine of the
		// test, so that hooks need no lock. TestSuspensionCache has one.
	}
	b.hook(nil)
	for _, name := range names {
		app := b.sandbox.AppOf(name)
		if _, err := b.PutApp(t.Context(), connector.Name(name), connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// hook puts h around every call of the bench's ports; nil removes it.
func (b *bench) hook(h connectortest.Hook) {
	b.hooked = h
	b.ports.Wire(b.Service, h, credentialstore.Options{})
}

// process returns a second service over the same ports, as another process has
// it, with h around its calls, within the hook of the bench.
func (b *bench) process(h connectortest.Hook) *connector.Service {
	other := *b.Service
	other.Platforms = slices.Clone(b.Platforms)
	b.ports.Wire(&other, connectortest.Chain(b.hooked, h), credentialstore.Options{})
	return &other
}

// withPlatform returns a second process whose platforms run before ahead of each
// refresh and after behind its answer.
func (b *bench) withPlatform(before, after func()) *connector.Service {
	other := b.process(nil)
	wrapPlatforms(other, func(p connector.Platform) connector.Platform { return platformHook{p, before, after} })
	return other
}

// timedPlatform notes how much time a refresh, the exchange of a code or an
// import has.
type timedPlatform struct {
	connector.Platform
	limit time.Duration
}

// timed wraps the platform of that name.
func (b *bench) timed(name connector.Name) *timedPlatform {
	var timed *timedPlatform
	wrapPlatforms(b.Service, func(p connector.Platform) connector.Platform {
		if p.Describe().Name != name {
			return p
		}
		timed = &timedPlatform{Platform: p}
		return timed
	})
	return timed
}

func (p *timedPlatform) note(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok {
		p.limit = time.Until(deadline)
	}
}

func (p *timedPlatform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	p.note(ctx)
	return p.Platform.Refresh(ctx, app, c)
}

func (p *timedPlatform) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	p.note(ctx)
	return p.Platform.Redeem(ctx, app, a, code)
}

func (p *timedPlatform) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	if verify {
		p.note(ctx)
	}
	return p.Platform.Import(ctx, app, fields, verify)
}

// wrapPlatforms replaces each platform of s by what wrap makes of it.
func wrapPlatforms(s *connector.Service, wrap func(connector.Platform) connector.Platform) {
	for i, p := range s.Platforms {
		s.Platforms[i] = wrap(p)
	}
}

// platformHook is a platform with functions around its refreshes.
type platformHook struct {
	connector.Platform
	before, after func()
}

func (p platformHook) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if p.before != nil {
		p.before()
	}
	renewed, err := p.Platform.Refresh(ctx, app, c)
	if p.after != nil {
		p.after()
	}
	return renewed, err
}

func (p platformHook) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	return p.Platform.(connector.Revoker).Revoke(ctx, app, c, userID)
}

// crash is the value of the panic that ends a process in the middle.
type crash struct{}

// crashAt returns a hook that crashes the process at the n-th call of that
// name, before it reaches the port.
func crashAt(name string, n int) connectortest.Hook {
	return beforeCall(name, n, func() { panic(crash{}) })
}

// beforeCall returns a hook that runs act before the n-th call of that name.
func beforeCall(name string, n int, act func()) connectortest.Hook {
	return connectortest.On(name, func(i int, next func() error) error {
		if i == n {
			act()
		}
		return next()
	})
}

// afterCall returns a hook that runs act after the n-th call of that name.
func afterCall(name string, n int, act func()) connectortest.Hook {
	return connectortest.On(name, func(i int, next func() error) error {
		err := next()
		if i == n {
			act()
		}
		return err
	})
}

// failAt returns a hook that fails the n-th call of that name, before it
// reaches the port.
func failAt(name string, n int) connectortest.Hook {
	return connectortest.On(name, func(i int, next func() error) error {
		if i == n {
			return errFlaky
		}
		return next()
	})
}

// wantCrash runs f, which must end in a crash.
func wantCrash(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if _, ok := recover().(crash); !ok {
			t.Error("nothing crashed")
		}
	}()
	f()
}

var errFlaky = errors.New("the service failed")

// noCache are the options of a credential store that reads each time.
var noCache = credentialstore.Options{}

// mint returns a connect link's token.
func (b *bench) mint(t *testing.T, r connector.LinkRequest) connector.Secret {
	t.Helper()
	minted, err := b.MintLink(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return connector.NewSecret(minted.URL.Reveal()[len(publicURL+"/connect/"):])
}

// consent opens the link in a browser and plays the person; it returns what
// the browser brings back.
func (b *bench) consent(ctx context.Context, name connector.Name, link connector.Secret, choice sandbox.Choice) (connector.CallbackRequest, error) {
	started, err := b.Start(ctx, link)
	if err != nil {
		return connector.CallbackRequest{}, err
	}
	redirect, err := b.sandbox.Consent(started.URL.Reveal(), choice)
	if err != nil {
		return connector.CallbackRequest{}, fmt.Errorf("the consent page: %w", err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		return connector.CallbackRequest{}, err
	}
	return connector.CallbackRequest{
		Platform: name,
		State:    connector.NewSecret(u.Query().Get("state")),
		Code:     connector.NewSecret(u.Query().Get("code")),
		Refusal:  connector.Refusal{"error": u.Query().Get("error")},
		Issuer:   u.Query().Get("iss"),
		Browser: func(cookie string) connector.Secret {
			if cookie != started.CookieName {
				return connector.Secret{}
			}
			return started.CookieValue
		},
	}, nil
}

// allowed is a person who allows everything.
var allowed = sandbox.Choice{}

// connect takes the owner "acme" through the whole consent and returns the
// first connection that comes of it.
func (b *bench) connect(t *testing.T, name connector.Name) connector.Connection {
	t.Helper()
	link := b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme"})
	request, err := b.consent(t.Context(), name, link, sandbox.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Callback(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return result.Connections[0]
}

func (b *bench) token(t *testing.T, id connector.ID) (connector.Token, error) {
	t.Helper()
	return b.Token(t.Context(), connector.TokenRequest{ConnectionID: id, MinTTL: connector.DefaultMinTTL})
}

// refreshes is how often the platform was shown a refresh token.
func (b *bench) refreshes(name connector.Name) int {
	return b.sandbox.Count(string(name), "token/refresh_token")
}

// sweep runs a sweep, and the worker on all that it queued.
func (b *bench) sweep(t *testing.T) []connector.DueResult {
	t.Helper()
	if sweep, err := b.QueueDue(t.Context()); err != nil || !sweep.Complete {
		t.Fatalf("the sweep: %+v, %v", sweep, err)
	}
	var results []connector.DueResult
	for _, item := range b.queue.Drain() {
		result, err := b.HandleDue(t.Context(), item)
		if err != nil {
			t.Fatalf("%s %s: %v", item.Kind, item.ID, err)
		}
		results = append(results, result)
	}
	return results
}

// wantSwept runs a sweep and wants these results.
func (b *bench) wantSwept(t *testing.T, what string, want ...connector.DueResult) {
	t.Helper()
	if got := b.sweep(t); !slices.Equal(got, want) {
		t.Errorf("%s: the sweep did %v, want %v", what, got, want)
	}
}

// dueKey returns the key under which a connection is due.
func dueKey(id connector.ID) connector.RecordKey {
	return connector.RecordKey{Kind: connector.ConnectionKind, ID: string(id)}
}

// expired returns a bench with a connection whose access token has expired.
func expired(t *testing.T, name connector.Name) (*bench, connector.ID) {
	t.Helper()
	b := newBench(t)
	c := b.connect(t, name)
	b.expire(t, c.ID)
	return b, c.ID
}

// lateHolder returns a process whose lease runs out before it calls the
// platform. Meanwhile the process that next returns acquires the lease, and
// continues until it calls wait. finish lets it end, and returns its error.
func (b *bench) lateHolder(t *testing.T, id connector.ID, next func(wait func()) *connector.Service) (late *connector.Service, finish func() error) {
	t.Helper()
	waiting, proceed, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	holder := next(func() {
		close(waiting)
		<-proceed
	})
	late = b.withPlatform(func() {
		b.outlive()
		go func() {
			_, err := holder.Token(t.Context(), connector.TokenRequest{ConnectionID: id})
			ended <- err
		}()
		<-waiting
	}, nil)
	return late, func() error {
		close(proceed)
		return <-ended
	}
}

// outlive makes every lease run out.
func (b *bench) outlive() { b.clock.Advance(time.Minute) }

// consented returns what the browser of a person brings back who allowed
// everything.
func (b *bench) consented(t *testing.T, name connector.Name) connector.CallbackRequest {
	t.Helper()
	return b.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "acme"}, allowed)
}

// consentedTo returns what the browser brings back to a link of r.
func (b *bench) consentedTo(t *testing.T, r connector.LinkRequest, choice sandbox.Choice) connector.CallbackRequest {
	t.Helper()
	request, err := b.consent(t.Context(), r.Platform, b.mint(t, r), choice)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// revokedByPlatform has the platform refuse the grant, so that the connection
// is marked needs_reauth.
func (b *bench) revokedByPlatform(t *testing.T, name connector.Name, id connector.ID) {
	t.Helper()
	b.sandbox.Kill(string(name), "", 0)
	if _, err := b.token(t, id); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Fatalf("got %v, want %s", err, connector.ReauthorizationRequired)
	}
}

// deauthorize has TikTok send the notice that the person removed the app.
func (b *bench) deauthorize(t *testing.T, id connector.ID) {
	t.Helper()
	body, signature := b.sandbox.TikTokNotice("authorization.removed", b.connection(t, id).AccountID)
	raw := connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body}
	if _, err := b.TakeNotice(t.Context(), "tiktok", "webhook", raw); err != nil {
		t.Error(err)
	}
}

// signedRequest returns a notice of Facebook about the person of c.
func (b *bench) signedRequest(c connector.Connection) connector.RawNotice {
	return connector.RawNotice{Body: []byte("signed_request=" + b.sandbox.SignedRequest(c.UserID))}
}

// change changes the record in the store, past the service.
func (b *bench) change(t *testing.T, id connector.ID, change func(*connector.Connection)) {
	t.Helper()
	c := b.connection(t, id)
	changed := c
	change(&changed)
	if _, err := b.store.Commit(t.Context(), connector.Change{Before: &c, After: &changed}); err != nil {
		t.Fatal(err)
	}
}

// connected returns the connections of the owner "acme".
func (b *bench) connected(t *testing.T) []connector.Connection {
	t.Helper()
	page, _, err := b.Connections(t.Context(), connector.Filter{Owner: "acme"}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// revocations is how often the platform was asked to end a grant.
func (b *bench) revocations(name connector.Name) int {
	return b.sandbox.Count(string(name), "revoke")
}

// published returns the published events of one type.
func (b *bench) published(kind connector.EventType) []connector.Event {
	return slices.DeleteFunc(b.events.All(), func(e connector.Event) bool { return e.Type != kind })
}

// wantNothingDue wants the sweep to find nothing.
func (b *bench) wantNothingDue(t *testing.T, what string) {
	t.Helper()
	if sweep, err := b.QueueDue(t.Context()); err != nil || sweep.Queued != 0 {
		t.Errorf("%s: the sweep queued %+v, %v; want nothing", what, sweep, err)
	}
}

// wantNoGrant wants no grant alive at the platform. It ends those that are.
func (b *bench) wantNoGrant(t *testing.T, what string, name connector.Name) {
	t.Helper()
	if live := b.sandbox.Kill(string(name), "", 0); live != 0 {
		t.Errorf("%s: %d grants are still alive at the platform", what, live)
	}
}

// reauthorize has the person give consent anew.
func (b *bench) reauthorize(t *testing.T, name connector.Name, id connector.ID) error {
	t.Helper()
	request, err := b.consent(t.Context(), name, b.mint(t, connector.LinkRequest{Platform: name, Owner: "acme", ConnectionID: id}), sandbox.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Callback(t.Context(), request)
	return err
}

// on returns the bench with another service, to play its flows in that process.
func (b *bench) on(s *connector.Service) *bench {
	other := *b
	other.Service = s
	return &other
}

// full returns what is handed out, with the refresh token.
func (b *bench) full(t *testing.T, id connector.ID) connector.Fields {
	t.Helper()
	token, err := b.Token(t.Context(), connector.TokenRequest{ConnectionID: id, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	return token.Full
}

// elsewhere returns the file that another tool of the person has: of a consent to the
// same app, which this connector knows nothing of.
func (b *bench) elsewhere(t *testing.T, name connector.Name, choice sandbox.Choice) connector.Fields {
	t.Helper()
	other, service := *b, *b.Service
	other.Service = &service
	other.store, other.vault, other.queue, other.events = connectortest.NewStore(), connectortest.NewVault(), connectortest.NewQueue(), connectortest.NewEvents()
	other.ports = connectortest.Ports{Store: other.store, Vault: other.vault, Sealer: connectortest.Sealer{}, Queue: other.queue, Events: other.events}
	other.hook(nil)
	app := b.sandbox.AppOf(string(name))
	if _, err := other.PutApp(t.Context(), name, connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
		t.Fatal(err)
	}
	result, err := other.Callback(t.Context(), other.consentedTo(t, connector.LinkRequest{Platform: name, Owner: "elsewhere"}, choice))
	if err != nil {
		t.Fatal(err)
	}
	return other.full(t, result.Connections[0].ID)
}

// connection returns the record.
func (b *bench) connection(t *testing.T, id connector.ID) connector.Connection {
	t.Helper()
	c, err := b.Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// crashBeforeRecord has another process refresh, and crash with the new
// credentials stored and the record not written.
func (b *bench) crashBeforeRecord(t *testing.T, id connector.ID) {
	t.Helper()
	other := b.process(crashAt("Store.Update", 2))
	wantCrash(t, func() { other.Token(t.Context(), connector.TokenRequest{ConnectionID: id}) })
}

func (b *bench) wantActive(t *testing.T, id connector.ID) {
	t.Helper()
	if c, err := b.Connection(t.Context(), id); err != nil || c.Status != connector.Active {
		t.Errorf("the connection is %s (%s), %v", c.Status, c.StatusReason, err)
	}
	if len(b.published(connector.EventReauth)) > 0 {
		t.Error("the owner was told to connect again")
	}
}

// wantNoSecret wants the credentials of the connection deleted.
func (b *bench) wantNoSecret(t *testing.T, what string, id connector.ID) {
	t.Helper()
	if _, _, err := b.vault.Get(t.Context(), "connections/"+string(id), ""); !errors.Is(err, connector.ErrNotFound) {
		t.Errorf("%s: its credentials are in the vault: %v", what, err)
	}
}

// expire moves the clock to the end of the connection's access token.
func (b *bench) expire(t *testing.T, id connector.ID) {
	t.Helper()
	c, err := b.Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) + time.Second)
}

// replaceClient replaces the stored app by one with another client id, which the
// platform knows in place of the former.
func (b *bench) replaceClient(t *testing.T, name connector.Name) {
	t.Helper()
	b.sandbox.SetClient(string(name), "sandbox-other-client", "sandbox-other-secret")
	b.putClient(t, name, "sandbox-other-client", "sandbox-other-secret")
}
