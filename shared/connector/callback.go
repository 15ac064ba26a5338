package connector

import (
	"bytes"
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
	// Link is the id of the link, which lists the connections.
	Link       string
	CookieName string // to be cleared; empty where the state was not accepted
}

// Callback ends an authorization: it takes the state, redeems the code and
// saves one connection an account, or stores what was granted until Confirm.
// When it returns nil the credentials are durable and the records, if any,
// refer to them. On error nothing that was stored has changed, and a grant that
// came too late or for another account is revoked, unless that would end
// another connection.
//
// It fails with StateInvalid, AccessDenied, ScopeMissing, AccountMismatch,
// LinkGone, RateLimited where a budget is used up, and what the platform answers
// to the code.
func (s *Service) Callback(ctx context.Context, r CallbackRequest) (result CallbackResult, err error) {
	c, err := s.takeAuthorization(ctx, r)
	if err != nil {
		return CallbackResult{}, err
	}
	defer func() { s.recordFailure(ctx, c.authorization, err) }()
	result = CallbackResult{
		ReturnURL: c.authorization.ReturnURL, Platform: c.platform.Describe(),
		Link: linkID(c.authorization.Link), CookieName: BrowserCookie(r.State, s.secure()),
	}
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
	name          string // tells it from the other consents of its link
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
	a, err := s.takeState(ctx, r, browser)
	if err != nil {
		return nil, err
	}
	a.State = r.State
	if a.Verifier, err = codeVerifier(r.State, browser); err != nil {
		return nil, internal("ending an authorization", err)
	}
	if s.checkReturnURL(a.ReturnURL) != nil {
		a.ReturnURL = "" // its origin was removed from RETURN_ORIGINS meanwhile
	}
	return &consent{Service: s, name: hash(r.State), platform: p, authorization: a}, nil
}

// takeState takes the ticket of a state that is bound to browser.
func (s *Service) takeState(ctx context.Context, r CallbackRequest, browser Secret) (a Authorization, err error) {
	ticket, err := s.Store.Ticket(ctx, RecordKey{Kind: StateKind, ID: hash(r.State)}, s.Now())
	if err != nil {
		return a, stateError(err)
	}
	if err := decodeBody(ticket, &a); err != nil {
		return a, err
	}
	if a.Platform != r.Platform {
		return a, errStateInvalid()
	}
	// The previous release binds a state to the value of the cookie alone.
	if ticket.Bound != bindToBrowser(browser, ticket.Body) && ticket.Bound != hash(browser) {
		s.reportIncident(ctx, ForeignCookie, "platform", string(a.Platform))
		return a, errStateInvalid()
	}
	taken, err := s.Store.TakeTicket(ctx, ticket.RecordKey, ticket.Bound, s.Now())
	if err != nil {
		return a, stateError(err)
	}
	if !bytes.Equal(taken.Body, ticket.Body) {
		return a, errStateInvalid()
	}
	return a, nil
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
	// Before the code is spent: nothing can be lost yet.
	c.nameStandIns(ctx, c.platform, c.authorization.Owner, c.lookUp)
	grants, err := withCurrentOrPreviousSecret(ctx, c.Service, app, clientRefused, func(app App) ([]Grant, error) {
		ctx, cancel, err := exchangeContext(ctx)
		if err != nil {
			return nil, err
		}
		defer cancel()
		if err := c.spendExchange(ctx); err != nil {
			return nil, err
		}
		return c.platform.Exchange(ctx, app, c.authorization, code)
	})
	for i := range grants {
		grants[i].Credentials.ClientID = app.ClientID
		grants[i].VerifiedAt = c.Now().UTC()
		grants[i].ConsentedAt = c.authorization.began()
	}
	return grants, err
}

// spendExchange reserves the exchange of a code. Whoever has a link can make codes
// up, and each is a call to the platform in the name of the app.
func (c *consent) spendExchange(ctx context.Context) error {
	return c.spend(ctx,
		c.chargeLink(ExchangesPerLink, c.authorization.Link),
		c.chargeOwner(ExchangesPerOwner, c.authorization.Owner, 1))
}

// connect spends the link and saves what a consent yielded. Where nothing could
// be saved the grants are revoked, and the link is good again. What was saved
// before a failure stays: most platforms would end it together with the rest.
func (c *consent) connect(ctx context.Context, grants []Grant) ([]Connection, error) {
	target, selected, err := c.selectGrants(ctx, c.authorization, grants)
	var reserved charge
	if err == nil {
		err = c.checkLink(ctx, c.authorization)
	}
	if err == nil {
		reserved, err = c.spendAccounts(ctx, c.authorization.Platform, selected, c.destination(target))
	}
	if err == nil {
		err = c.spendLink(ctx, c.authorization, c.savedBy(c.name))
	}
	if errors.Is(err, LinkGone) {
		c.refundUnused(ctx, reserved, nil)
		c.deferRevocation(ctx, grants)
		return nil, err
	}
	var saved []Connection
	if err == nil {
		saved, err = c.saveInTime(ctx, selected, c.destination(target))
	}
	c.finishLink(ctx, saved, err, (*linkStatus).reopen)
	c.refundUnused(ctx, reserved, saved)
	if err != nil && len(saved) == 0 {
		c.revokeUnused(ctx, grants)
	}
	if err != nil {
		return nil, err
	}
	return saved, nil
}

// saveInTime saves grants, and leaves time to record which.
func (c *consent) saveInTime(ctx context.Context, grants []Grant, to destination) ([]Connection, error) {
	ctx, cancel := rescueContext(ctx)
	defer cancel()
	saved, err := c.saveGrants(ctx, c.platform, grants, to)
	if err == nil {
		c.endTarget(ctx, saved)
	}
	return saved, err
}

// deferRevocation leaves the grants of a consent to the sweep, where another tab
// spent the link. Most platforms end all grants of a person at once, and the
// index may not show the connection of the other tab yet. One grant of each person
// is enough for that.
func (c *consent) deferRevocation(ctx context.Context, grants []Grant) {
	if _, err := c.storePending(ctx, c.authorization, onePerPerson(grants)); err != nil {
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

func errStateInvalid() error {
	return &Error{Code: StateInvalid, Message: "this authorization is unknown, expired, already used, or was begun in another browser: start again"}
}

func stateError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errStateInvalid()
	}
	return internal("reading a state", err)
}
