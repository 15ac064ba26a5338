package connector_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

const (
	publicURL = "https://connect.example.com"
	returnURL = "https://product.example.com/done"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bench is a service over ports in memory and sandbox platforms, on a clock
// that moves when somebody sleeps or is told to.
type bench struct {
	*connector.Service
	clock   *connectortest.Clock
	store   *connectortest.Store
	vault   *connectortest.Vault
	queue   *connectortest.Queue
	events  *connectortest.Events
	sandbox *sandbox.Sandbox
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
		Store:     b.store,
		Vault:     b.vault,
		Sealer:    connectortest.Sealer{},
		Queue:     b.queue,
		Events:    b.events,
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
	}
	for _, name := range names {
		app := b.sandbox.AppOf(name)
		if _, err := b.PutApp(t.Context(), connector.Name(name), connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret)}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

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
		Error:    u.Query().Get("error"),
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

// expire moves the clock to the end of the connection's access token.
func (b *bench) expire(t *testing.T, id connector.ID) {
	t.Helper()
	c, err := b.Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(c.ExpiresAt.Sub(b.clock.Now()) + time.Second)
}
