package connector_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"platform-api-connector/shared/connector"
)

// rotating is the platform of the simulation.
type rotating struct {
	world    *world
	lifetime time.Duration // of an access token
	grants   map[string]*simulatedGrant
	names    bool // the answer to a refresh names the account

	mu     sync.Mutex
	access map[string]time.Time
	outage bool
	calls  []time.Time
}

func (r *rotating) setOutage(outage bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage = outage
}

// called records a call, and reports whether the platform is down.
func (r *rotating) called() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, time.Now())
	return r.outage
}

// maxCalls returns the maximum number of calls in any window of a width since an
// instant.
func (r *rotating) maxCalls(since time.Time, width time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	maximum, first := 0, 0
	for i, at := range r.calls {
		for at.Sub(r.calls[first]) > width || r.calls[first].Before(since) && first < i {
			first++
		}
		if !at.Before(since) {
			maximum = max(maximum, i-first+1)
		}
	}
	return maximum
}

type simulatedGrant struct {
	person   sync.Mutex // held during a consent
	mu       sync.Mutex
	account  string
	consents int
	serial   int
	current  string
	dead     bool
	inFlight map[string]int
	// delivered reports whether a worker received the reply with current.
	delivered bool
	// crashed reports whether that worker crashed before it stored current.
	crashed bool
	// brought is what a person holds whose import failed.
	brought connector.Fields
	// redeemed reports whether the code of a consent was exchanged.
	redeemed bool
}

// consent simulates the first consent of a person.
func (r *rotating) consent(account string) connector.Fields {
	g := &simulatedGrant{account: account, inFlight: map[string]int{}}
	r.grants[account] = g
	fields := r.rotate(g)
	g.delivered = true
	return fields
}

// family returns the prefix of the refresh tokens of one consent.
func (g *simulatedGrant) family() string {
	return fmt.Sprintf("refresh-%s-%d-", g.account, g.consents)
}

// rotate issues a new pair of tokens.
func (r *rotating) rotate(g *simulatedGrant) connector.Fields {
	g.serial++
	g.current = fmt.Sprintf("%s%d", g.family(), g.serial)
	g.delivered, g.crashed = false, false
	fields := connector.Fields{}
	fields.Set("account", g.account)
	fields.Set("refresh_token", g.current)
	fields.Set("access_token", r.issue(g))
	return fields
}

// issue issues an access token.
func (r *rotating) issue(g *simulatedGrant) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.access == nil {
		r.access = map[string]time.Time{}
	}
	token := fmt.Sprintf("access-%s-%d", g.account, g.serial)
	r.access[token] = time.Now().Add(r.lifetime)
	return token
}

// accepts reports whether an access token is valid. It tolerates the skew of the
// workers' clocks.
func (r *rotating) accepts(token string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.access[token].Add(2 * simulatedSkew).Add(time.Second))
}

// exchange is the token endpoint without network and faults.
func (r *rotating) exchange(g *simulatedGrant, token string) (connector.Fields, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.HasPrefix(token, g.family()) {
		return nil, &connector.Error{Code: connector.ReauthorizationRequired} // a token of an earlier consent
	}
	if token != g.current {
		if !g.dead && (r.world.isDurable(g.current) || g.delivered && !g.crashed) {
			r.world.problem("%s: a spent refresh token was sent and ended a valid grant", g.account)
		}
		g.dead = true
	}
	if g.dead {
		return nil, &connector.Error{Code: connector.ReauthorizationRequired}
	}
	return r.rotate(g), nil
}

// simulatedPlatform is the connection of one worker to the platform.
type simulatedPlatform struct {
	*rotating
	worker *worker
}

func (p *simulatedPlatform) Describe() connector.Description {
	return connector.Description{Name: "rotating", Title: "Rotating", Cadence: connector.Cadence{Model: connector.Rotating, Lifetime: p.lifetime}}
}

// Refresh exchanges the refresh token over a network that delays and loses
// requests and replies.
func (p *simulatedPlatform) Refresh(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	k, g := p.worker, p.grants[c.Fields.Get("account")]
	token := c.Fields.Get("refresh_token")
	p.world.count(func(n *counts) { n.exchanges++ })

	g.mu.Lock()
	g.inFlight[token]++
	if n := g.inFlight[token]; n > 1 {
		p.world.problem("%s: %d exchanges of one refresh token in flight", g.account, n)
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.inFlight[token]--
		g.mu.Unlock()
	}()

	if p.called() {
		if k.random.IntN(2) == 0 {
			return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Message: "refused"}
		}
		connector.Sleep(ctx, time.Minute)
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: ctx.Err()}
	}
	luck := 1000
	if p.world.faulty() && !k.faultless {
		luck = k.random.IntN(1000)
	}
	if err := connector.Sleep(ctx, time.Duration(k.random.Int64N(int64(300*time.Millisecond)))); err != nil {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: err}
	}
	switch {
	case luck < 40:
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Message: "connection refused"}
	case luck < 60:
		return connector.Credentials{}, &connector.Error{Code: connector.RateLimited, RetryAfter: time.Duration(luck) * time.Second}
	case luck < 80:
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "request lost"}
	case luck < 90:
		return connector.Credentials{}, &connector.Error{Code: connector.AppMisconfigured, Message: "wrong client secret"}
	case luck < 100:
		connector.Sleep(ctx, time.Minute)
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Err: ctx.Err()}
	}
	fields, err := p.exchange(g, token)
	if err != nil {
		return connector.Credentials{}, err
	}
	if luck < 120 {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "reply lost"}
	}
	g.mu.Lock()
	g.delivered = true
	g.mu.Unlock()
	k.exchanging = g
	if luck < 130 {
		panic(crash{})
	}
	now := k.service.Now()
	renewed := connector.Credentials{Fields: fields, IssuedAt: now, ExpiresAt: now.Add(p.lifetime)}
	if p.names {
		renewed.AccountID = g.account
	}
	return renewed, nil
}

// Import returns the credentials as they are or, to verify those whose access token
// does not work, renews them. In half of the schedules the fields do not tell the account.
func (p *simulatedPlatform) Import(ctx context.Context, _ connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	account := connector.Account{ID: fields.Get("account"), Name: fields.Get("account")}
	if verify && !p.accepts(fields.Get("access_token")) {
		renewed, err := p.Refresh(ctx, connector.App{}, connector.Credentials{Fields: fields})
		if err != nil {
			return nil, err
		}
		renewed.AccountID = account.ID
		return []connector.Grant{{Account: account, UserID: account.ID, Credentials: renewed}}, nil
	}
	if !verify && !p.names {
		account = connector.Account{}
	}
	p.mu.Lock()
	expires := p.access[fields.Get("access_token")]
	p.mu.Unlock()
	return []connector.Grant{{
		Account:     account,
		UserID:      account.ID,
		Credentials: connector.Credentials{Fields: fields, IssuedAt: expires.Add(-p.lifetime), ExpiresAt: expires},
	}}, nil
}

func (p *simulatedPlatform) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	return c.Fields["access_token"], "Bearer", connector.Fields{}
}

func (p *simulatedPlatform) TokenNeedsApp(connector.Credentials) bool { return false }

func (p *simulatedPlatform) Full(_ connector.App, c connector.Credentials) connector.Fields {
	return c.Fields
}

func (p *simulatedPlatform) AuthorizeURL(_ connector.App, a connector.Authorization) (string, error) {
	return "https://rotating.example/authorize?state=" + a.State.Reveal(), nil
}

func (p *simulatedPlatform) AuthorizationError(connector.Refusal) *connector.Error {
	return &connector.Error{Code: connector.Internal, Message: "no authorization in the simulation"}
}

// endedByConsent reports whether credentials are those of an earlier consent.
func (r *rotating) endedByConsent(fields connector.Fields) bool {
	g := r.grants[fields.Get("account")]
	g.mu.Lock()
	defer g.mu.Unlock()
	return !strings.HasPrefix(fields.Get("refresh_token"), g.family())
}

// Verify names the account of an access token over the same network.
func (p *simulatedPlatform) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	k := p.worker
	unavailable := &connector.Error{Code: connector.PlatformUnavailable, Message: "no answer"}
	if p.called() || connector.Sleep(ctx, time.Duration(k.random.Int64N(int64(300*time.Millisecond)))) != nil {
		return connector.Verification{}, unavailable
	}
	switch luck := k.random.IntN(1000); {
	case k.faultless || !p.world.faulty():
	case luck < 10:
		panic(crash{})
	case luck < 80:
		return connector.Verification{}, unavailable
	}
	if !p.accepts(c.Fields.Get("access_token")) || p.endedByConsent(c.Fields) {
		return connector.Verification{}, &connector.Error{Code: connector.ReauthorizationRequired}
	}
	account := c.Fields.Get("account")
	return connector.Verification{Account: connector.Account{ID: account, Name: account}, UserID: account}, nil
}

func (p *simulatedPlatform) AppKey(connector.App, connector.Credentials) string { return "" }
