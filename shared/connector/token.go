package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// TokenRequest selects a connection by ConnectionID, or by Owner and Platform
// and, where the owner has several, AccountID; and says what the caller needs.
type TokenRequest struct {
	ConnectionID ID
	Owner        string
	Platform     Name
	AccountID    string

	MinTTL       time.Duration // the life that the token must have left, see DefaultMinTTL
	Scopes       []string      // that the grant must have
	ForceRefresh bool
	Full         bool // the brief's shape, with refresh token and client secret
}

// Token is the answer of token-get: credentials that work now.
type Token struct {
	Connection  Connection
	AccessToken Secret
	TokenType   string
	ExpiresAt   time.Time
	Credentials Fields // what a caller needs beside the access token: page_id, open_id, api_key…

	// Degraded says that a refresh was due and failed, or that the connection has a
	// Degradation, and that the token still lives; DegradedReason is the code of the
	// failure.
	Degraded       bool
	DegradedReason Code

	// Full holds the brief's shape where the caller asked for it and the
	// deployment allows it; nil otherwise.
	Full Fields
}

// Token hands out credentials that work now: it refreshes them first if they do
// not live long enough. If that fails for a reason that passes, a token that
// still lives is handed out as degraded.
//
// It fails with ConnectionNotFound, AmbiguousConnection, Suspended,
// ScopeMissing, ManualMode, ReauthorizationRequired, InvalidRequest where Full
// is not allowed, and what the platform answers to a refresh.
func (s *Service) Token(ctx context.Context, r TokenRequest) (Token, error) {
	if err := s.checkTokenRequest(r); err != nil {
		return Token{}, s.refuseDecoy(ctx, r, Connection{}, err)
	}
	p, c, err := s.findUsable(ctx, r)
	if err != nil {
		return Token{}, err
	}
	c, failure := s.refresh(ctx, p, c, freshness{force: r.ForceRefresh, since: s.Now(), minTTL: r.MinTTL})
	if failure == nil {
		failure = c.usable(p) // it may have been marked needs_reauth meanwhile
	}
	if failure != nil && (!servable(c, s.Now()) || forcedTooOften(failure)) {
		return Token{}, failure
	}
	t, err := s.token(ctx, p, c, r.Full)
	if err != nil {
		return Token{}, err
	}
	return t.degradedBy(failure, s.Now())
}

// findUsable returns the connection that r selects, with its platform, if its
// credentials may be used now. Token and Sign use it.
func (s *Service) findUsable(ctx context.Context, r TokenRequest) (Platform, Connection, error) {
	c, err := s.findUnsuspended(ctx, r)
	if err = s.refuseDecoy(ctx, r, c, err); err != nil {
		return nil, Connection{}, err
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return nil, Connection{}, err
	}
	if c, err = s.reconcileConsent(ctx, p, c); err != nil {
		return nil, Connection{}, err
	}
	return p, c, cmp.Or(c.usable(p), c.checkScopes(r.Scopes))
}

// forcedTooOften reports whether a refresh failed because callers forced too many,
// of the connection or of its owner.
func forcedTooOften(failure error) bool {
	reason := AsError(failure).Reason
	return reason == reasonForcedTooOften || reason == reasonBudgetExceeded
}

// degradedBy returns the token as it is handed out after a refresh that failed,
// or not at all where it expired meanwhile.
func (t Token) degradedBy(failure error, now time.Time) (Token, error) {
	switch {
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		expired := &Error{Code: PlatformUnavailable, Message: "the token expired while it was read: try again"}
		return Token{}, cmp.Or(failure, error(expired))
	case failure != nil:
		t.Degraded, t.DegradedReason = true, AsError(failure).Code
	case !t.Degraded && t.Connection.Degraded.Code != "":
		t.Degraded, t.DegradedReason = true, t.Connection.Degraded.Code
	}
	return t, nil
}

func (s *Service) checkTokenRequest(r TokenRequest) error {
	if r.Full && !s.AllowFull {
		return Invalid("full", "this deployment does not allow it (ALLOW_FULL_CREDENTIALS)")
	}
	if r.MinTTL < 0 || r.MinTTL > MaxMinTTL {
		return Invalid("min_ttl_seconds", "not between 0 and 31536000")
	}
	if err := checkScopes(r.Scopes); err != nil || r.ConnectionID != "" {
		return err
	}
	if r.Owner == "" {
		return Invalid("connection_id", "missing, and so is owner with platform")
	}
	if err := checkOwner(r.Owner); err != nil {
		return err
	}
	if r.Platform == "" {
		return Invalid("platform", "missing")
	}
	if _, err := s.platform(r.Platform); err != nil || r.AccountID == "" {
		return err
	}
	return checkText("account_id", r.AccountID, maxAccountID)
}

// checkScopes returns ScopeMissing where the grant lacks scopes.
func (c Connection) checkScopes(needed []string) error {
	lacking := missing(needed, c.Scopes)
	if len(lacking) == 0 {
		return nil
	}
	return &Error{Code: ScopeMissing, MissingScopes: lacking, Message: "the grant lacks scopes: connect again with consent to all of them"}
}

// servable reports whether a token that could not be refreshed is still worth
// handing out.
func servable(c Connection, now time.Time) bool {
	return c.Status == Active && c.alive(now)
}

// findUnsuspended returns the connection that r selects, also beside the error where
// it is suspended or disconnected.
// Another owner's connection looks absent, suspended or not.
func (s *Service) findUnsuspended(ctx context.Context, r TokenRequest) (Connection, error) {
	// The right comes before any read, whose time would tell what the owner has.
	if r.Owner != "" && !mayActFor(ctx, r.Owner) || r.ConnectionID != "" && !r.ConnectionID.Valid() {
		return Connection{}, errConnectionNotFound()
	}
	join := s.prefetchSuspensions(ctx)
	c, err := s.find(ctx, r)
	join()
	switch {
	case errors.Is(err, AmbiguousConnection):
		return Connection{}, cmp.Or(s.checkSuspended(ctx, Connection{Owner: r.Owner, Platform: r.Platform}), err)
	case err != nil:
		return Connection{}, err
	case c.Status == Disconnected:
		return c, errConnectionNotFound()
	}
	return c, s.checkSuspended(ctx, c)
}

// find returns the connection that r selects. A connection of an owner that the
// caller may not act for looks like none: where r names the owner, the caller of
// find has checked that.
func (s *Service) find(ctx context.Context, r TokenRequest) (Connection, error) {
	switch {
	case r.ConnectionID != "":
		c, err := s.Connection(ctx, r.ConnectionID)
		if err == nil && c.Status == Disconnected && c.StatusReason == reasonSameAccount {
			c, err = s.mergedInto(ctx, c) // the caller holds the id of a stand-in
		}
		if err == nil && !r.matches(c) {
			return Connection{}, errConnectionNotFound()
		}
		return c, err
	case r.AccountID == "":
		return s.findOnly(ctx, r.Owner, r.Platform)
	}
	c, err := s.Store.FindAccount(ctx, r.Owner, r.Platform, r.AccountID)
	if err != nil {
		return Connection{}, notFound(err)
	}
	return c, nil
}

// matches reports whether c is what r says beside the id.
func (r TokenRequest) matches(c Connection) bool {
	return (r.Owner == "" || r.Owner == c.Owner) && (r.Platform == "" || r.Platform == c.Platform) && (r.AccountID == "" || r.AccountID == c.AccountID)
}

// findOnly returns the one connection that the owner has on the platform.
func (s *Service) findOnly(ctx context.Context, owner string, platform Name) (Connection, error) {
	page, next, err := s.Store.Connections(ctx, Filter{Owner: owner, Platform: platform, Within: ownersIn(ctx)}, "", maxPage)
	if err != nil {
		return Connection{}, internal("listing connections", err)
	}
	switch len(page) {
	case 0:
		return Connection{}, errConnectionNotFound()
	case 1:
		// Listings may lag behind; the record itself does not.
		return s.Connection(ctx, page[0].ID)
	}
	e := &Error{Code: AmbiguousConnection, Message: "the owner has several accounts there: name one by account_id or connection_id"}
	if next != "" {
		e.Message = fmt.Sprintf("the owner has more than %d accounts there: name one by account_id or connection_id; GET /connections lists all of them", len(page))
	}
	for _, c := range page {
		e.ConnectionIDs = append(e.ConnectionIDs, c.ID)
	}
	return Connection{}, e
}

// token reads the credentials that c refers to. The keys of the app are handed out
// only with credentials that the platform accepted with them. Where the platform
// cannot be asked now, the token is handed out without them, as degraded.
func (s *Service) token(ctx context.Context, p Platform, c Connection, full bool) (Token, error) {
	c, creds, err := s.usableCredentials(ctx, p, c)
	if err != nil {
		return Token{}, err
	}
	var app App
	var failure error
	if s.tokenNeedsApp(p, creds, full) {
		if app, err = s.app(ctx, c.Platform); err != nil {
			return Token{}, err
		}
		if p.TokenNeedsApp(creds) && p.AppKey(app, creds) == "" {
			return Token{}, errAppLacksKeys(p.Describe())
		}
		if !s.WithholdAppKeys && s.proofOwed(p, app, c, creds) {
			c, creds, failure = s.prove(ctx, p, c, creds)
		}
		if served := servable(c, s.Now()) && creds.Generation == c.Credentials.Generation; failure != nil && !served {
			return Token{}, failure
		}
	}
	t := Token{Connection: c, ExpiresAt: creds.ExpiresAt}
	if creds.Generation == c.Credentials.Generation {
		t.ExpiresAt = c.ExpiresAt // a check may have found it since they were stored
	}
	if failure != nil {
		t.Degraded, t.DegradedReason = true, AsError(failure).Code
	}
	lent := s.appToHandOut(p, app, creds)
	t.AccessToken, t.TokenType, t.Credentials = p.Token(lent, creds)
	t.Credentials = s.withoutAppKeys(app, t.Credentials)
	if full {
		if err := s.rememberHandedOut(ctx, p, c, creds); err != nil {
			return Token{}, err
		}
		t.Full = s.withoutAppKeys(app, p.Full(lent, creds))
	}
	// The refresh and these reads may have taken longer than a suspension needs to
	// reach callers.
	if err := s.checkSuspended(ctx, c); err != nil {
		return Token{}, err
	}
	return t, nil
}

// tokenNeedsApp reports whether the app must be read to hand out creds. The read
// costs a call.
func (s *Service) tokenNeedsApp(p Platform, creds Credentials, full bool) bool {
	if full || p.TokenNeedsApp(creds) {
		return true
	}
	if _, signs := p.(Signer); !signs || !s.WithholdAppKeys {
		return false
	}
	_, _, public := p.Token(App{}, creds)
	return len(public) > 0 // keys that may be those of the app
}
