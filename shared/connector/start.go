package connector

import (
	"context"
	"time"
)

// Started is an authorization that began: where the browser goes, and the
// cookie that binds the authorization to it.
type Started struct {
	URL          Secret // holds the state
	CookieName   string
	CookieValue  Secret
	CookieMaxAge time.Duration
	Secure       bool // the cookie's Secure attribute: false only where PublicURL is plain HTTP on loopback
}

// Start opens an authorization for a connect link. The link stays good until
// a connection results from it, so that a preview, a wrong account or a closed
// tab costs nothing.
//
// It fails with LinkGone, AppNotConfigured, ManualMode, or RateLimited where the
// link was opened too often.
func (s *Service) Start(ctx context.Context, token Secret) (Started, error) {
	link, err := s.openLink(ctx, token)
	if err != nil {
		return Started{}, err
	}
	p, err := s.platform(link.Platform)
	if err != nil {
		return Started{}, err
	}
	if !s.mayStart(p.Describe(), link.Scopes) {
		s.Log.WarnContext(ctx, "a link asks for a scope that no link may ask for any more", "platform", string(link.Platform))
		return Started{}, errLinkGone()
	}
	app, err := s.consentApp(ctx, p)
	if err != nil {
		return Started{}, err
	}
	if err := s.spend(ctx, s.chargeLink(StartsPerLink, hash(token))); err != nil {
		return Started{}, err
	}

	state, err := randomToken(s.Random)
	if err != nil {
		return Started{}, internal("starting an authorization", err)
	}
	browser, err := randomToken(s.Random)
	if err != nil {
		return Started{}, internal("starting an authorization", err)
	}
	verifier, err := codeVerifier(state, browser)
	if err != nil {
		return Started{}, internal("starting an authorization", err)
	}
	a := Authorization{
		Platform:     link.Platform,
		Owner:        link.Owner,
		Link:         hash(token),
		ConnectionID: link.ConnectionID,
		Scopes:       link.Scopes,
		ReturnURL:    link.ReturnURL,
		Confirm:      link.Confirm,
		Choose:       link.Choose,
		RedirectURI:  s.RedirectURI(link.Platform),
		ExpiresAt:    s.Now().Add(authorizationLife).UTC(),
		State:        state,
		Verifier:     verifier,
	}
	authorizeURL, err := p.AuthorizeURL(app, a)
	if err != nil {
		return Started{}, internal("building the authorize URL", err)
	}
	if len(authorizeURL) > maxAuthorizeURL {
		s.Log.WarnContext(ctx, "a link asks for more scopes than fit into an authorize URL", "platform", string(link.Platform), "length", len(authorizeURL))
		return Started{}, errLinkGone()
	}
	ticket, err := newTicket(StateKind, hash(state), a.ExpiresAt, consentRecord{Authorization: a})
	if err != nil {
		return Started{}, err
	}
	if ticket.Bound, err = bindToBrowser(browser, a); err != nil {
		return Started{}, err
	}
	if err := s.putTicket(ctx, ticket); err != nil {
		return Started{}, err
	}
	s.recordStart(ctx, a)
	return Started{
		URL:          NewSecret(authorizeURL),
		CookieName:   BrowserCookie(state, s.secure()),
		CookieValue:  browser,
		CookieMaxAge: authorizationLife,
		Secure:       s.secure(),
	}, nil
}
