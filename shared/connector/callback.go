package connector

import (
	"context"
	"errors"
	"slices"
)

// CallbackRequest is what the browser brought back from the platform.
type CallbackRequest struct {
	Platform    Name // of the path
	State, Code Secret
	// Browser reads a cookie. It returns the empty Secret where there is none.
	Browser func(cookieName string) Secret
	// Error and Issuer are the parameters error and iss, as they came.
	Error, Issuer string
}

// CallbackResult is what became of an authorization. ReturnURL is set, also
// beside an error, once the state was accepted and if the link has one; nothing
// is added to it yet.
type CallbackResult struct {
	ReturnURL   string
	Platform    Description
	Connections []Connection
	// Confirmation is what Confirm takes; empty where the link does not ask
	// for that. With it there are no Connections yet.
	Confirmation Secret
	CookieName   string // to be cleared; empty where the state was not accepted
}

// Callback ends an authorization: it takes the state, redeems the code and
// saves one connection an account, or stores what was granted until Confirm.
// When it returns nil the credentials are durable and the records, if any,
// refer to them. On error nothing that was stored has changed, and a grant that
// came too late or for another account is revoked, unless that would end
// another connection.
//
// It fails with StateInvalid, AccessDenied, ScopeMissing, AccountMismatch,
// LinkGone, and what the platform answers to the code.
func (s *Service) Callback(ctx context.Context, r CallbackRequest) (CallbackResult, error) {
	c, err := s.takeAuthorization(ctx, r)
	if err != nil {
		return CallbackResult{}, err
	}
	result := CallbackResult{ReturnURL: c.authorization.ReturnURL, Platform: c.platform.Describe(), CookieName: BrowserCookie(r.State, s.secure())}
	if r.Error != "" {
		return result, c.platform.AuthorizationError(r.Error)
	}
	if r.Code.Empty() {
		return result, Invalid("code", "missing")
	}
	if c.authorization.Confirm && c.authorization.ReturnURL == "" {
		return result, Invalid("return_url", "there is none that the confirmation could be sent to")
	}
	grants, err := c.redeem(ctx, r.Code)

	// The code is spent: the work is done even if the browser has gone.
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	if err == nil {
		err = c.checkErased(ctx, c.authorization.Platform, grants)
	}
	if err != nil {
		c.revokeUnused(ctx, grants)
		return result, internal("exchanging the code", err)
	}
	if c.authorization.Confirm {
		result.Confirmation, err = c.awaitConfirmation(ctx, grants)
	} else {
		result.Connections, err = c.connect(ctx, grants)
	}
	return result, err
}

// consent is an authorization that came back, with what its grants need.
type consent struct {
	*Service
	platform      Platform
	app           App
	authorization Authorization
}

// takeAuthorization returns the consent whose authorization the state names,
// once, to the browser that began it. A callback without that browser's cookie
// leaves the state alone: it may be a link preview, and no other browser can use
// it.
func (s *Service) takeAuthorization(ctx context.Context, r CallbackRequest) (*consent, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return nil, err
	}
	browser := r.browser(s.secure())
	if browser.Empty() || r.Issuer != "" && !slices.Contains(p.Describe().Issuers, r.Issuer) {
		return nil, errStateInvalid()
	}
	key := RecordKey{Kind: StateKind, ID: hash(r.State)}
	a, err := ticketBody[Authorization](ctx, s, key)
	if err != nil {
		return nil, stateError(err)
	}
	if a.Platform != r.Platform {
		return nil, errStateInvalid()
	}
	if _, err := s.Store.TakeTicket(ctx, key, hash(browser), s.Now()); err != nil {
		return nil, stateError(err)
	}
	a.State = r.State
	if a.Verifier, err = codeVerifier(r.State, browser); err != nil {
		return nil, internal("ending an authorization", err)
	}
	if s.checkReturnURL(a.ReturnURL) != nil {
		a.ReturnURL = "" // its origin was removed from RETURN_ORIGINS meanwhile
	}
	return &consent{Service: s, platform: p, authorization: a}, nil
}

// browser returns the value of the cookie that belongs to the state; empty
// where either is malformed.
func (r CallbackRequest) browser(secure bool) Secret {
	if !wellFormedToken(r.State) {
		return Secret{}
	}
	cookie := r.Browser(BrowserCookie(r.State, secure))
	if !wellFormedToken(cookie) {
		return Secret{}
	}
	return cookie
}

// redeem exchanges the code, once, and returns what was granted; beside an
// error, too.
func (c *consent) redeem(ctx context.Context, code Secret) ([]Grant, error) {
	app, err := c.consentApp(ctx, c.platform)
	if err != nil {
		return nil, err
	}
	c.app = app
	if err := c.CredentialStore.Prepare(ctx); err != nil {
		return nil, internal("preparing the credential store", err)
	}
	grants, err := withCurrentOrPreviousSecret(ctx, c.Service, app, clientRefused, func(app App) ([]Grant, error) {
		ctx, cancel, err := exchangeContext(ctx)
		if err != nil {
			return nil, err
		}
		defer cancel()
		return c.platform.Exchange(ctx, app, c.authorization, code)
	})
	for i := range grants {
		grants[i].Credentials.ClientID = app.ClientID
		grants[i].VerifiedAt = c.Now().UTC()
		grants[i].ConsentedAt = c.authorization.began()
	}
	return grants, err
}

// connect spends the link and saves what a consent yielded. Where nothing could
// be saved the grants are revoked. What was saved before a failure stays: most
// platforms would end it together with the rest.
func (c *consent) connect(ctx context.Context, grants []Grant) ([]Connection, error) {
	target, selected, err := c.selectGrants(ctx, c.authorization, grants)
	if err == nil {
		err = c.spendLink(ctx, c.authorization)
	}
	if errors.Is(err, LinkGone) {
		c.deferRevocation(ctx, grants)
		return nil, err
	}
	var saved []Connection
	if err == nil {
		saved, err = c.saveGrants(ctx, c.platform, selected, c.destination(target))
	}
	if err != nil && len(saved) == 0 {
		c.revokeUnused(ctx, grants)
	}
	if err != nil {
		return nil, err
	}
	return saved, nil
}

// deferRevocation leaves the grants of a consent to the sweep, where another tab
// spent the link. Most platforms end all grants of a person at once, and the
// index may not show the connection of the other tab yet.
func (c *consent) deferRevocation(ctx context.Context, grants []Grant) {
	if _, err := c.storePending(ctx, c.authorization, grants); err != nil {
		c.Log.WarnContext(ctx, "storing the grants of a spent link", "platform", string(c.authorization.Platform), "error", err)
	}
}

// destination is where the grants of the consent are saved.
func (c *consent) destination(target *Connection) destination {
	return destination{owner: c.authorization.Owner, requested: c.authorization.Scopes, target: target}
}

func (c *consent) revokeUnused(ctx context.Context, grants []Grant) {
	c.Service.revokeUnused(ctx, c.platform, c.app, grants)
}

// spendLink takes the link that began a. It must not have expired when the
// person opened it; it may have expired while they read the consent page.
func (s *Service) spendLink(ctx context.Context, a Authorization) error {
	_, err := s.Store.TakeTicket(ctx, RecordKey{Kind: LinkKind, ID: a.Link}, "", a.began())
	if errors.Is(err, ErrNotFound) {
		return errLinkGone()
	}
	if err != nil {
		return internal("spending a link", err)
	}
	return nil
}

func errStateInvalid() error {
	return &Error{Code: StateInvalid, Message: "this authorization is unknown, expired, already used, or was begun in another browser: start again"}
}

func stateError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errStateInvalid()
	}
	return internal("reading a state", err)
}
