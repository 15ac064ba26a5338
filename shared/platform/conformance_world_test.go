package platform_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

// world is one platform over its sandbox, with the registered app.
type world struct {
	t        *testing.T
	row      row
	box      *sandbox.Sandbox
	base     string
	platform connector.Platform
	app      connector.App
	now      time.Time
}

func newWorld(t *testing.T, row row, change ...func(*platform.Options)) *world {
	t.Helper()
	w := &world{t: t, row: row, now: time.Now().UTC().Truncate(time.Second)}
	clock := func() time.Time { return w.now }
	w.box = sandbox.New(sandbox.Options{Now: clock})
	w.box.SetRedirectURIs(row.name, w.redirectURI())
	server := httptest.NewServer(w.box)
	t.Cleanup(server.Close)
	w.base = server.URL

	options := platform.Options{
		HTTP:      &http.Client{Transport: loopbackOnly(t)},
		Endpoints: sandbox.Endpoints(server.URL),
		Now:       clock,
	}
	for _, f := range change {
		f(&options)
	}
	w.platform = find(t, row.name, options)
	registered := w.box.AppOf(row.name)
	w.app = connector.App{
		ClientID:     registered.ClientID,
		ClientSecret: connector.NewSecret(registered.ClientSecret),
		Mode:         connector.Live,
		Extras:       connector.Fields{},
	}
	t.Cleanup(w.noSecretInURLs)
	return w
}

// loopbackOnly returns a transport that connects to loopback alone.
func loopbackOnly(t *testing.T) *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); host != "127.0.0.1" {
				t.Errorf("a call went to %s", addr)
				return nil, errors.New("not loopback")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func find(t *testing.T, name string, o platform.Options) connector.Platform {
	t.Helper()
	for _, p := range platform.All(o) {
		if string(p.Describe().Name) == name {
			return p
		}
	}
	t.Fatalf("no platform %q", name)
	return nil
}

func (w *world) redirectURI() string {
	return "https://connect.example/oauth/" + w.row.name + "/callback"
}

// authorization returns an authorization for scopes, or for the default ones.
func (w *world) authorization(scopes ...string) connector.Authorization {
	if len(scopes) == 0 {
		scopes = w.platform.Describe().Scopes
	}
	return connector.Authorization{
		Platform:    connector.Name(w.row.name),
		Scopes:      scopes,
		RedirectURI: w.redirectURI(),
		State:       connector.NewSecret("test-state"),
		Verifier:    connector.NewSecret("test-verifier-0123456789-0123456789-0123456789"),
	}
}

// consent gives consent and returns the code.
func (w *world) consent(a connector.Authorization, choice sandbox.Choice) connector.Secret {
	w.t.Helper()
	authorize, err := w.platform.AuthorizeURL(w.app, a)
	if err != nil {
		w.t.Fatalf("AuthorizeURL: %v", err)
	}
	redirect, err := w.box.Consent(authorize, choice)
	if err != nil {
		w.t.Fatalf("consent: %v", err)
	}
	u, err := url.Parse(redirect)
	if err != nil {
		w.t.Fatal(err)
	}
	if u.Query().Get("code") == "" || u.Query().Get("state") != a.State.Reveal() {
		w.t.Fatalf("the consent led to %s", u.Path)
	}
	return connector.NewSecret(u.Query().Get("code"))
}

// connect runs a consent and the exchange, and returns the first grant.
func (w *world) connect() connector.Grant {
	w.t.Helper()
	a := w.authorization()
	grants, err := exchange(w.t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{}))
	if err != nil {
		w.t.Fatalf("Exchange: %v", err)
	}
	return grants[0]
}

// age moves the clock to where a token of now is old enough for a refresh.
func (w *world) age() { w.now = w.now.Add(w.row.cadence.MinimumAge) }

// fails checks an error: its code, whether it is Uncertain, and that it holds no
// secret.
func (w *world) fails(err error, code connector.Code, uncertain bool) *connector.Error {
	w.t.Helper()
	var e *connector.Error
	if !errors.As(err, &e) {
		w.t.Fatalf("got error %v, want a *connector.Error with %s", err, code)
	}
	if e.Code != code {
		w.t.Errorf("got code %s (%v), want %s", e.Code, err, code)
	}
	if e.Uncertain != uncertain {
		w.t.Errorf("%v: got uncertain %t, want %t", err, e.Uncertain, uncertain)
	}
	if e.Message == "" {
		w.t.Errorf("%v: no message", err)
	}
	text := fmt.Sprintf("%v %+v %#v", err, *e, *e)
	for _, secret := range append(w.box.Secrets(), "test-verifier", "test-state") {
		if strings.Contains(text, secret) {
			w.t.Errorf("the error holds a secret: %s", text)
		}
	}
	if strings.Contains(text, "?") || strings.Contains(text, "<!doctype") {
		w.t.Errorf("the error holds a query or a body: %s", text)
	}
	return e
}

// noSecretInURLs checks that requests have secrets in forms and headers alone, other
// than those whose documented place is the query.
func (w *world) noSecretInURLs() {
	secrets := w.box.Secrets()
	for _, call := range w.box.Calls(w.row.name, "") {
		for _, name := range w.row.secrets[call.Endpoint] {
			call.Query.Del(name)
		}
		for _, secret := range secrets {
			if strings.Contains(call.Path+"?"+call.Query.Encode(), url.QueryEscape(secret)) {
				w.t.Errorf("%s %s%s: a secret in the URL", call.Method, call.Host, call.Path)
			}
		}
	}
}

// exchange redeems a code and returns what was granted.
func exchange(ctx context.Context, p connector.Platform, app connector.App, a connector.Authorization, code connector.Secret) ([]connector.Grant, error) {
	redeemed, err := p.Redeem(ctx, app, a, code)
	if err != nil {
		return nil, err
	}
	consent, err := p.Extend(ctx, app, redeemed)
	if err != nil {
		return nil, err
	}
	return listAccounts(ctx, p, app, consent)
}

// listAccounts returns the grants of every part of the list, each with its token.
// Accounts to which the consent gives no access are left out.
func listAccounts(ctx context.Context, p connector.Platform, app connector.App, consent connector.Credentials) ([]connector.Grant, error) {
	grants, err := connector.ListAccounts(func(cursor string) (connector.AccountList, error) {
		return p.Accounts(ctx, app, consent, cursor)
	})
	if err != nil {
		return grants, err
	}
	var complete []connector.Grant
	for _, g := range grants {
		if g.Incomplete {
			var err error
			if g, err = p.Account(ctx, app, consent, g); errors.Is(err, connector.ScopeMissing) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		complete = append(complete, g)
	}
	return complete, nil
}
