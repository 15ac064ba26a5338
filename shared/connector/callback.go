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
		return result, refusal(d, r.Error)
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
	grants, err := s.redeem(ctx, p, app, a, r.Code)

	// The code is spent: the work is done even if the browser has gone.
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	if err != nil {
		s.revokeUnused(ctx, p, app, grants)
		return result, internal("exchanging the code", err)
	}
	if a.Confirm {
		result.Confirmation, err = s.awaitConfirmation(ctx, p, app, a, grants)
		return result, err
	}
	saved, err := s.connect(ctx, p, a, grants)
	if err == nil {
		result.Connections = saved
	} else if len(saved) == 0 {
		s.revokeUnused(ctx, p, app, grants)
	}
	return result, err
}

// redeem exchanges the code, once, and returns what was granted; beside an
// error, too.
func (s *Service) redeem(ctx context.Context, p Platform, app App, a Authorization, code Secret) ([]Grant, error) {
	if err := s.CredentialStore.Prepare(ctx); err != nil {
		return nil, internal("preparing the credential store", err)
	}
	grants, err := withCurrentOrPreviousSecret(ctx, s, app, clientRefused, func(app App) ([]Grant, error) {
		ctx, cancel, err := exchangeContext(ctx)
		if err != nil {
			return nil, err
		}
		defer cancel()
		return p.Exchange(ctx, app, a, code)
	})
	for i := range grants {
		grants[i].Credentials.ClientID = app.ClientID
		grants[i].VerifiedAt = s.Now().UTC()
	}
	return grants, err
}

// connect spends the link and saves what a consent yielded.
func (s *Service) connect(ctx context.Context, p Platform, a Authorization, grants []Grant) ([]Connection, error) {
	target, grants, err := s.selectGrants(ctx, a, grants)
	if err != nil {
		return nil, err
	}
	if err := s.spendLink(ctx, a); err != nil {
		return nil, err
	}
	return s.saveGrants(ctx, p, grants, destination{owner: a.Owner, requested: a.Scopes, target: target})
}

// takeAuthorization returns the authorization that the state names, once, to
// the browser that began it. A callback without that browser's cookie leaves
// the state alone: it may be a link preview, and no other browser can use it.
func (s *Service) takeAuthorization(ctx context.Context, r CallbackRequest) (Authorization, error) {
	if !wellFormedToken(r.State) {
		return Authorization{}, errStateInvalid()
	}
	browser := r.Browser(BrowserCookie(r.State, s.secure()))
	if !wellFormedToken(browser) {
		return Authorization{}, errStateInvalid()
	}
	key := RecordKey{Kind: StateKind, ID: hash(r.State)}
	a, err := ticketBody[Authorization](ctx, s, key)
	if err != nil {
		return Authorization{}, stateError(err)
	}
	if a.Platform != r.Platform {
		return Authorization{}, errStateInvalid()
	}
	if _, err := s.Store.TakeTicket(ctx, key, hash(browser), s.Now()); err != nil {
		return Authorization{}, stateError(err)
	}
	a.State = r.State
	if a.Verifier, err = codeVerifier(r.State, browser); err != nil {
		return Authorization{}, internal("ending an authorization", err)
	}
	return a, nil
}

// spendLink takes the link that began a. It must not have expired when the
// person opened it; it may have expired while they read the consent page.
func (s *Service) spendLink(ctx context.Context, a Authorization) error {
	began := a.ExpiresAt.Add(-authorizationLife)
	_, err := s.Store.TakeTicket(ctx, RecordKey{Kind: LinkKind, ID: a.Link}, "", began)
	if errors.Is(err, ErrNotFound) {
		return errLinkGone()
	}
	if err != nil {
		return internal("spending a link", err)
	}
	return nil
}

// refusal says what a platform's error parameter means (RFC 6749, 4.1.2.1). Its
// description is never looked at: it is anybody's text.
func refusal(d Description, code string) error {
	switch code {
	case "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_response_type", "invalid_request",
		"redirect_uri_mismatch",               // Google's
		"client_key", "redirect_uri", "scope": // TikTok's, which names what is wrong; assumed
		return &Error{Code: AppMisconfigured, Message: d.Title + " refuses the app: check its client id, redirect URI and scopes"}
	case "server_error", "temporarily_unavailable":
		return &Error{Code: PlatformUnavailable, Message: d.Title + " failed: try again"}
	}
	return &Error{Code: AccessDenied, Message: "the consent was not given on " + d.Title}
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
