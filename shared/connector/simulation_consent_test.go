package connector_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"platform-api-connector/shared/connector"
)

// simulatedPeople is how many persons of a schedule can consent, each to an account of
// their own.
const simulatedPeople = 20

// simulatedConsent is a consent of a person that came back from the platform's page.
type simulatedConsent struct {
	grant   *simulatedGrant
	owner   string
	link    connector.Secret
	request connector.CallbackRequest
}

// meetPeople makes the persons who consent later.
func (w *world) meetPeople() {
	for i := range simulatedPeople {
		account := fmt.Sprintf("person-%d", i)
		w.platform.grants[account] = &simulatedGrant{account: account, inFlight: map[string]int{}}
		w.people = append(w.people, account)
	}
}

// nextPerson returns a person who has not consented yet; nil if there is none.
func (w *world) nextPerson() *simulatedGrant {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.people) == 0 {
		return nil
	}
	account := w.people[0]
	w.people = w.people[1:]
	return w.platform.grants[account]
}

// consent takes the next person from a new link to the callback.
func (k *worker) consent(ctx context.Context) {
	g := k.world.nextPerson()
	if g == nil {
		return
	}
	owner := "owner-of-" + g.account
	minted, err := k.service.MintLink(ctx, connector.LinkRequest{Platform: "rotating", Owner: owner, ExpiresIn: connector.MaxLinkLife})
	if err != nil {
		return
	}
	link := connector.NewSecret(minted.URL.Reveal()[len(k.service.PublicURL+"/connect/"):])
	started, err := k.service.Start(ctx, link)
	if err != nil {
		return
	}
	page, err := url.Parse(started.URL.Reveal())
	if err != nil {
		k.world.problem("the authorize URL: %v", err)
		return
	}
	c := simulatedConsent{grant: g, owner: owner, link: link, request: connector.CallbackRequest{
		Platform: "rotating", State: connector.NewSecret(page.Query().Get("state")), Code: connector.NewSecret(g.account),
		Browser: func(name string) connector.Secret {
			if name != started.CookieName {
				return connector.Secret{}
			}
			return started.CookieValue
		},
	}}
	k.world.mu.Lock()
	k.world.consents = append(k.world.consents, c)
	k.world.mu.Unlock()
	k.service.Callback(ctx, c.request)
}

// reload calls the callback of one of the last consents again.
func (k *worker) reload(ctx context.Context) {
	k.world.mu.Lock()
	all := k.world.consents
	k.world.mu.Unlock()
	if len(all) > 0 {
		k.service.Callback(ctx, all[len(all)-1-k.random.IntN(min(len(all), 3))].request)
	}
}

// codeRedeemed exchanges a code, once, without network and faults.
func (r *rotating) codeRedeemed(account string) (*simulatedGrant, connector.Fields, error) {
	g := r.grants[account]
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.redeemed {
		r.world.problem("%s: its code was sent twice", account)
		return nil, nil, &connector.Error{Code: connector.StateInvalid, Message: "the code is spent"}
	}
	g.redeemed = true
	return g, r.rotate(g), nil
}

// Redeem exchanges a code over a network that delays and loses requests and replies.
func (p *simulatedPlatform) Redeem(ctx context.Context, _ connector.App, _ connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	k, luck := p.worker, 1000
	if p.world.faulty() && !k.faultless {
		luck = k.random.IntN(1000)
	}
	if err := connector.Sleep(ctx, time.Duration(k.random.Int64N(int64(300*time.Millisecond)))); err != nil || luck < 40 {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "request lost"}
	}
	g, fields, err := p.codeRedeemed(code.Reveal())
	if err != nil {
		return connector.Credentials{}, err
	}
	if luck < 60 {
		return connector.Credentials{}, &connector.Error{Code: connector.PlatformUnavailable, Uncertain: true, Message: "reply lost"}
	}
	g.mu.Lock()
	g.delivered = true
	g.mu.Unlock()
	k.exchanging = g
	if luck < 100 {
		panic(crash{})
	}
	now := k.service.Now()
	return connector.Credentials{Fields: fields, IssuedAt: now, ExpiresAt: now.Add(p.lifetime)}, nil
}

// Extend returns the credentials of the code unchanged, because they last.
func (p *simulatedPlatform) Extend(_ context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	return c, nil
}

// Account is not called, because the list of accounts has no incomplete grant.
func (p *simulatedPlatform) Account(context.Context, connector.App, connector.Credentials, connector.Grant) (connector.Grant, error) {
	return connector.Grant{}, &connector.Error{Code: connector.Internal, Message: "not called"}
}

// Accounts returns the account of the credentials of a code.
func (p *simulatedPlatform) Accounts(ctx context.Context, app connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	verified, err := p.Verify(ctx, app, c)
	if err != nil {
		return connector.AccountList{}, err
	}
	return connector.AccountList{Grants: []connector.Grant{{Account: verified.Account, UserID: verified.UserID, Credentials: c}}}, nil
}

// recordConsent records that the record of a consent has what the worker was given.
func (k *worker) recordConsent() {
	g := k.exchanging
	if g == nil {
		return
	}
	g.mu.Lock()
	redeemed, current := g.redeemed, g.current
	g.mu.Unlock()
	if !redeemed {
		return // the worker refreshes a connection, and writes another ticket
	}
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	k.world.durable[current] = true
}

// checkConsents checks, once the sweep ran a few times, that each consent whose code was
// redeemed has a connection that works, or was lost between the platform's answer and
// the first write. Where there is no connection, the link can be opened again.
func (w *world) checkConsents(ctx context.Context) {
	s := w.worker(97, 0).service
	for _, c := range w.consents {
		g := c.grant
		g.mu.Lock()
		redeemed, dead, delivered, crashed, current := g.redeemed, g.dead, g.delivered, g.crashed, g.current
		g.mu.Unlock()
		found, _, err := s.Connections(ctx, connector.Filter{Owner: c.owner}, "", 100)
		switch {
		case err != nil:
			w.problem("%s: %v", g.account, err)
		case len(found) > 1:
			w.problem("%s: %d connections", g.account, len(found))
		case len(found) == 1:
			_, err := w.token(ctx, s, found[0].ID)
			if err != nil {
				w.problem("%s: the token of a new connection: %v", g.account, err)
			}
			w.count(func(n *counts) { n.consents++ })
			continue
		}
		if _, err := s.Start(ctx, c.link); err != nil {
			w.problem("%s: redeemed %v, no connection, and the link is dead: %v", g.account, redeemed, err)
		}
		switch {
		case !redeemed:
		case !dead && (w.isDurable(current) || delivered && !crashed):
			w.problem("%s: the grant of a consent was lost", g.account)
		case delivered:
			w.count(func(n *counts) { n.consentsInWindow++ })
		default:
			w.count(func(n *counts) { n.consentReplies++ })
		}
	}
}

// isSimulatedDue reports whether a worker of the simulation handles an item of the queue. The
// workers refresh connections that are not due, too.
func isSimulatedDue(item connector.RecordKey) bool {
	return slices.Contains([]connector.Kind{connector.EventKind, connector.StateKind}, item.Kind)
}
