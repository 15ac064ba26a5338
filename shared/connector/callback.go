package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// CallbackRequest is what the browser brought back from the platform.
type CallbackRequest struct {
	Platform    Name // of the path
	State, Code Secret
	// Browser reads a cookie; it returns the empty Secret where there is none.
	Browser func(cookieName string) Secret
	// Error and Issuer are the parameters error and iss, as they came.
	Error, Issuer string
}

// CallbackResult is what became of an authorization. ReturnURL is set, also
// beside an error, once the state was found good and if the link has one;
// nothing is added to it yet.
type CallbackResult struct {
	ReturnURL   string
	Platform    Description
	Connections []Connection
	// Confirmation is what Confirm takes; empty where the link does not ask
	// for that. With it there are no Connections yet.
	Confirmation Secret
	CookieName   string // to be cleared; empty where the state was not good
}

// Callback ends an authorization: it takes the state, redeems the code and
// stores one connection an account, or holds what was granted until Confirm.
// When it returns nil the credentials are in the vault and the records, if
// any, point to them. On error nothing that was stored has changed, and a grant
// that came too late or for another account is given back where that hurts
// nobody else.
//
// It fails with StateInvalid, AccessDenied, ScopeMissing, AccountMismatch,
// LinkGone, and what the platform answers to the code.
func (s *Service) Callback(ctx context.Context, r CallbackRequest) (CallbackResult, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return CallbackResult{}, err
	}
	d := p.Describe()
	if r.Issuer != "" && !slices.Contains(d.Issuers, r.Issuer) {
		return CallbackResult{}, errStateInvalid()
	}
	a, err := s.takeAuthorization(ctx, r)
	if err != nil {
		return CallbackResult{}, err
	}
	if s.checkReturnURL(a.ReturnURL) != nil {
		a.ReturnURL = "" // its origin was taken off the list meanwhile
	}
	result := CallbackResult{ReturnURL: a.ReturnURL, Platform: d, CookieName: BrowserCookie(a.State, s.secure())}
	if r.Error != "" {
		return result, p.AuthorizationError(r.Error)
	}
	if r.Code.Empty() {
		return result, Invalid("code", "missing")
	}
	app, err := s.consentApp(ctx, p)
	if err != nil {
		return result, err
	}
	if a.Confirm && a.ReturnURL == "" {
		return result, Invalid("return_url", "there is none that the confirmation could be sent to")
	}
	grants, err := withEither(ctx, s, app, clientRefused, func(app App) ([]Grant, error) {
		ctx, cancel, err := s.beforeStoring(ctx)
		if err != nil {
			return nil, err
		}
		defer cancel()
		return p.Exchange(ctx, app, a, r.Code)
	})
	for i := range grants {
		grants[i].Credentials.ClientID = app.ClientID
		grants[i].VerifiedAt = s.Now().UTC()
	}

	// The code is spent: from here on the work is done even if the browser
	// has gone.
	ctx, cancel := finish(ctx)
	defer cancel()
	if err != nil {
		s.giveBack(ctx, p, app, grants)
		return result, internal("exchanging the code", err)
	}
	if a.Confirm {
		result.Confirmation, err = s.holdGrants(ctx, p, app, a, grants)
		return result, err
	}
	kept, err := s.keepGrants(ctx, p, a, grants)
	if err == nil {
		result.Connections = kept
	} else if len(kept) == 0 {
		s.giveBack(ctx, p, app, grants)
	}
	return result, err
}

// takeAuthorization returns the authorization that the state names, to the
// browser that began it, once. A callback without that browser's cookie leaves
// the state alone: it may be a link preview, and is of no use to anybody else.
func (s *Service) takeAuthorization(ctx context.Context, r CallbackRequest) (Authorization, error) {
	if !wellFormedToken(r.State) {
		return Authorization{}, errStateInvalid()
	}
	browser := r.Browser(BrowserCookie(r.State, s.secure()))
	if !wellFormedToken(browser) {
		return Authorization{}, errStateInvalid()
	}
	ticket, err := s.Store.Ticket(ctx, StateTicket, hash(r.State), s.Now())
	if err != nil {
		return Authorization{}, stateError(err)
	}
	var a Authorization
	if err := json.Unmarshal(ticket.Body, &a); err != nil {
		return Authorization{}, internal("decoding an authorization", err)
	}
	if a.Platform != r.Platform {
		return Authorization{}, errStateInvalid()
	}
	if _, err := s.Store.TakeTicket(ctx, StateTicket, hash(r.State), hash(browser), s.Now()); err != nil {
		return Authorization{}, stateError(err)
	}
	a.State = r.State
	if a.Verifier, err = codeVerifier(r.State, browser); err != nil {
		return Authorization{}, internal("ending an authorization", err)
	}
	return a, nil
}

// keepGrants spends the link and stores what a consent yielded. What was stored
// is returned beside an error, too: it stands, and on the same person as the
// rest.
func (s *Service) keepGrants(ctx context.Context, p Platform, a Authorization, grants []Grant) ([]Connection, error) {
	target, grants, err := s.fitting(ctx, a, grants)
	if err != nil {
		return nil, err
	}
	if err := s.spendLink(ctx, a); err != nil {
		return nil, err
	}
	return s.storeGrants(ctx, p, a, grants, target)
}

// fitting returns those grants that are to be stored: all of them or, when one
// connection is re-authorized, the one for it, which is then the target.
func (s *Service) fitting(ctx context.Context, a Authorization, grants []Grant) (target *Connection, fit []Grant, err error) {
	if a.ConnectionID == "" {
		return nil, grants, nil
	}
	c, err := s.Connection(ctx, a.ConnectionID)
	if err != nil {
		return nil, nil, err
	}
	if c.Status == Disconnected || c.Owner != a.Owner {
		return nil, nil, errConnectionNotFound()
	}
	mismatch := &Error{Code: AccountMismatch, Message: "the consent was given for another account than the one to be re-authorized: choose " + c.AccountName}
	for _, g := range grants {
		if c.AccountID == g.Account.ID {
			return &c, []Grant{g}, nil
		}
		if !c.takes(g.Account) {
			continue
		}
		_, err := s.Store.FindAccount(ctx, c.Owner, c.Platform, g.Account.ID)
		if errors.Is(err, ErrNotFound) {
			return &c, []Grant{g}, nil
		}
		if err != nil {
			return nil, nil, internal("finding the connection", err)
		}
		mismatch = errAccountHeld()
	}
	return nil, nil, mismatch
}

func errAccountHeld() *Error {
	return &Error{Code: AccountMismatch, Message: "the owner has another connection to that account"}
}

// spendLink takes the link that began a. It counts as it stood when the person
// set out: one that ran out while they were reading the consent page is still
// theirs.
func (s *Service) spendLink(ctx context.Context, a Authorization) error {
	began := a.ExpiresAt.Add(-authorizationLife)
	_, err := s.Store.TakeTicket(ctx, LinkTicket, a.Link, "", began)
	if errors.Is(err, ErrNotFound) {
		return errLinkGone()
	}
	if err != nil {
		return internal("spending a link", err)
	}
	return nil
}

func (s *Service) storeGrants(ctx context.Context, p Platform, a Authorization, grants []Grant, target *Connection) ([]Connection, error) {
	var connections []Connection
	for _, grant := range grants {
		c, err := s.keep(ctx, p, a.Owner, grant, a.Scopes, target)
		if err != nil {
			return connections, err
		}
		connections = append(connections, c)
	}
	return connections, nil
}

// takes reports whether c is a connection to account, or one whose account is
// not known yet.
func (c Connection) takes(account Account) bool {
	return c.AccountID == account.ID || c.Status == Manual || provisional(c.AccountID)
}

// giveBack revokes grants that will not be kept. A revocation often ends
// every grant that the person ever gave to the app, so it is left out where a
// connection stands on the same person, and where nobody can say who that is.
func (s *Service) giveBack(ctx context.Context, p Platform, app App, grants []Grant) {
	for _, g := range grants {
		if err := s.giveOneBack(ctx, p, app, g); err != nil {
			s.Log.WarnContext(ctx, "giving a grant back", "platform", string(p.Describe().Name), "error", err)
		}
	}
}

func (s *Service) giveOneBack(ctx context.Context, p Platform, app App, g Grant) error {
	revoker, ok := p.(Revoker)
	if !ok {
		return nil
	}
	user := userOf(g)
	if user == "" {
		v, err := s.verifyWith(ctx, p, app, g.Credentials)
		if err != nil {
			return fmt.Errorf("finding out whose it is: %w", err)
		}
		user = v.Account.ID
	}
	others, err := s.Store.UserConnections(ctx, p.Describe().Name, user)
	if err != nil || len(others) > 0 {
		return err
	}
	return s.revokeWith(ctx, revoker, app, g.Credentials, user)
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
