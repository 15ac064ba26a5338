package connector

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Refresh renews the credentials of one connection now. When it returns nil
// the connection has credentials that are newer than the call: renewed by it, or
// by another caller or consent meanwhile. They are durable, and the record refers
// to them.
func (s *Service) Refresh(ctx context.Context, id ID) (Connection, error) {
	c, err := s.unresting(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return Connection{}, err
	}
	return s.refresh(ctx, p, c, freshness{force: true, since: s.Now()})
}

// freshness is what the caller of a refresh needs.
type freshness struct {
	// force asks for a renewal after since, whatever the token's age.
	force bool
	since time.Time
	// minTTL is the life that the token must have left.
	minTTL time.Duration
	// due is set by the worker, which renews what is due and waits for nothing.
	due bool
	// newerThan asks for credentials of a later generation: with a proof that
	// those of this generation lack. Zero asks for none.
	newerThan int64
}

// satisfiedBy reports whether c needs no renewal.
func (f freshness) satisfiedBy(c Connection, now time.Time) bool {
	switch {
	case f.due:
		return c.RefreshAt.IsZero() || now.Before(c.RefreshAt)
	case f.force:
		return c.LastRefreshedAt.After(f.since)
	case f.newerThan > 0:
		return c.Credentials.Generation > f.newerThan
	}
	return c.freshFor(f.minTTL, now)
}

// freshFor reports whether the access token lives long enough at now: minTTL,
// or as long as the platform gives. A token that a refresh brought a moment ago
// is as good as the platform gives; another refresh would rotate it for
// nothing. The token of a consent or an import says nothing about that.
func (c Connection) freshFor(minTTL time.Duration, now time.Time) bool {
	if c.ExpiresAt.IsZero() {
		return true
	}
	left := c.ExpiresAt.Sub(now)
	if left <= 0 {
		return false
	}
	if left >= minTTL {
		return true
	}
	if c.IssuedAt.IsZero() || c.LastRefreshedAt.IsZero() {
		return false
	}
	life, age := c.ExpiresAt.Sub(c.IssuedAt), now.Sub(c.IssuedAt)
	if minTTL > life {
		return age < life/2
	}
	return age < min(time.Minute, life/6)
}

// alive reports whether the access token still works at now, as far as its
// expiry tells.
func (c Connection) alive(now time.Time) bool {
	return !c.Credentials.IsZero() && (c.ExpiresAt.IsZero() || now.Before(c.ExpiresAt))
}

// errBusy says that another caller is refreshing the connection.
var errBusy = errors.New("the lease is held")

// refresh renews the credentials of c until they satisfy f. At most one
// exchange of a connection is under way anywhere (I3): a caller that meets a
// lease waits for the result, and shares it, good or bad. Beside an error it
// returns the connection as it was last read, whose token may still live (I6).
func (s *Service) refresh(ctx context.Context, p Platform, c Connection, f freshness) (Connection, error) {
	started := s.Now()
	for try := 0; ; try++ {
		now := s.Now()
		if err := c.usable(p); err != nil {
			return c, err
		}
		if f.satisfiedBy(c, now) {
			return c, nil
		}
		if try > 0 && c.Attempt.Code != "" && c.Attempt.At.After(started) {
			return c, c.Attempt.err(now) // the attempt that was waited for failed
		}
		turn, ready, err := s.awaitTurn(ctx, c, f, try)
		if err != nil {
			return c, err
		}
		if ready {
			attempted, err := s.attempt(ctx, p, c, f, turn)
			if !errors.Is(err, ErrConflict) {
				return attempted, err
			}
		}
		fresh, err := s.Store.Connection(ctx, c.ID)
		if err != nil {
			return c, notFound(err)
		}
		c = fresh
	}
}

// usable returns the error of a connection that has nothing to hand out or to
// renew.
func (c Connection) usable(p Platform) error {
	switch c.Status {
	case Active:
		return nil
	case Manual:
		return errManualMode(p.Describe())
	case NeedsReauth:
		return errReauth(c.StatusReason)
	}
	return errConnectionNotFound()
}

// attempt is one try to renew the credentials of one connection, by the holder
// of its lease.
type attempt struct {
	*Service
	platform    Platform
	connection  Connection // with the lease
	credentials Credentials
	app         App
	previous    Attempt // the mark that the lease replaced
	freshness   freshness
	turn        turn
	renewed     Credentials // by the platform
	account     Account     // of the credentials, once the platform named it
	userID      string      // likewise
}

// attempt acquires the lease of c and runs an attempt. ErrConflict: another
// caller was first.
func (s *Service) attempt(ctx context.Context, p Platform, c Connection, f freshness, t turn) (Connection, error) {
	if insufficientTime(ctx) {
		return c, errInsufficientTime()
	}
	now := s.Now().UTC()
	if mustNotReplay(p, c, now) {
		return c, &Error{Code: PlatformUnavailable, Reason: reasonOutcomeUnknown, RetryAfter: c.ExpiresAt.Sub(now),
			Message: "the answer to the last refresh was lost; the refresh token is not sent again while the access token still works"}
	}
	leased, err := s.acquireLease(ctx, c, Attempt{
		Generation: c.Credentials.Generation,
		At:         now,
		Uncertain:  rotates(p, c.ExpiresAt),
	})
	if errors.Is(err, ErrConflict) {
		return c, err
	}
	if err != nil {
		return c, internal("acquiring the lease", err)
	}

	// Other callers may wait for the result from here on, and soon the platform
	// will have acted: a caller that goes away changes nothing (I4).
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	a := &attempt{Service: s, platform: p, connection: leased, previous: c.Attempt, freshness: f, turn: t}
	return a.run(ctx)
}

// mustNotReplay reports whether a refresh token that may be spent must not be
// sent again yet. Platforms take a second use for theft and end the whole
// family of tokens (RFC 9700, 4.14.2), with the access token that still works.
// Once that one expired, another try can lose nothing (I9).
func mustNotReplay(p Platform, c Connection, now time.Time) bool {
	return c.Attempt.Uncertain && c.Attempt.Generation == c.Credentials.Generation && rotates(p, c.ExpiresAt) && c.alive(now)
}

// rotates reports whether a refresh of credentials spends their refresh token. Those
// without an expiry have none: a refresh only checks them.
func rotates(p Platform, expiresAt time.Time) bool {
	return p.Describe().Cadence.Model == Rotating && !expiresAt.IsZero()
}

// reserveForced counts a refresh that a caller forces. It fails with
// RateLimited where a window of the connection or the owner has too many.
func (s *Service) reserveForced(ctx context.Context, c Connection) error {
	ofOwner := s.chargeOwner(RefreshesPerOwner, c.Owner, 1)
	if err := s.spend(ctx, ofOwner); err != nil {
		return err
	}
	err := s.reserveForcedOf(ctx, c.ID)
	if err != nil {
		s.refund(ctx, ofOwner)
	}
	return err
}

func (s *Service) reserveForcedOf(ctx context.Context, id ID) error {
	now := s.Now()
	window := now.Truncate(forcedWindow)
	ends := window.Add(forcedWindow)
	_, err := s.Store.Reserve(ctx, fmt.Sprintf("forced/%s/%d", id, window.Unix()), 1, maxForced, ends)
	if errors.Is(err, ErrConflict) {
		return &Error{Code: RateLimited, Reason: reasonForcedTooOften, Message: "this connection was refreshed by force too often", RetryAfter: ends.Sub(now)}
	}
	if err != nil {
		return internal("counting forced refreshes", err)
	}
	return nil
}

// run is the protocol of one attempt: reconcile, still needed?, suspended?,
// preconditions, exchange, record the outcome.
func (a *attempt) run(ctx context.Context) (Connection, error) {
	if err := a.reconcile(ctx); err != nil {
		return a.record(ctx, outcomeNotSent, err)
	}
	a.forgetFormer(ctx)
	a.moveStale(ctx)
	confirm := a.onlyConfirms()
	if !confirm && !a.stillNeeded() {
		return a.record(ctx, outcomeNotSent, nil)
	}
	if err := a.checkResting(ctx, a.connection); err != nil {
		return a.record(ctx, outcomeNotSent, err)
	}
	if err := a.checkPreconditions(ctx); err != nil {
		return a.record(ctx, outcomeNotSent, err)
	}
	if confirm {
		// Another exchange can replace a token that was revoked before its expiry.
		err := a.askAccount(ctx)
		if !errors.Is(err, ReauthorizationRequired) || insufficientTime(ctx) {
			defer a.recordWithBreaker(ctx, err)
			return a.recordAccount(ctx, err)
		}
	}
	outcome, err := a.exchange(ctx)
	if err != nil {
		a.recordWithBreaker(ctx, err)
		return a.record(ctx, outcome, err)
	}
	// A slow write of the breaker must not keep new credentials from being stored.
	defer a.recordWithBreaker(ctx, nil)
	return a.record(ctx, outcome, nil)
}

// reconcile reads the newest credentials. Where a crashed writer left some that
// the record did not refer to, nothing is uncertain about them.
func (a *attempt) reconcile(ctx context.Context) error {
	before := a.connection.Credentials.Generation
	c, creds, err := a.Service.reconcile(ctx, a.platform, a.connection, a.connection.Lease.Holder)
	if err != nil {
		return err
	}
	if c.Lease.lostBy(a.connection.Lease.Holder) || c.Credentials.Generation != creds.Generation {
		return ErrConflict
	}
	if c.Credentials.Generation > before {
		a.previous = Attempt{}
	}
	a.connection, a.credentials = c, creds
	if c.accountChanged(creds) {
		return errReauth(ReasonAccountChanged)
	}
	return nil
}

// moveStale stores sealed credentials again, in the vault. A failure is logged: the
// next attempt tries again.
func (a *attempt) moveStale(ctx context.Context) {
	c := a.connection
	if !a.CredentialStore.Stale(c.Credentials) {
		return
	}
	a.connection = a.storeStale(ctx, a.platform, c, a.credentials)
}

// storeStale stores the credentials of a stale reference, and returns the connection as
// it is then. A failure is logged.
func (s *Service) storeStale(ctx context.Context, p Platform, c Connection, creds Credentials) Connection {
	ref, err := s.CredentialStore.Put(ctx, c.credentialsKey(), c.Credentials, creds)
	if err == nil && s.CredentialStore.Stale(ref) {
		err = errors.New("the credential store still takes no writes")
	}
	moved := c
	if err == nil {
		moved, err = s.recordMoved(ctx, p, c, creds, ref)
	}
	if errors.Is(err, errLate) {
		s.deleteLate(ctx, c)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "moving stale credentials", "connection", string(c.ID), "error", err)
		return c
	}
	return moved
}

// recordMoved makes the record refer to where its credentials are now. errLate: it
// refers to others.
func (s *Service) recordMoved(ctx context.Context, p Platform, c Connection, creds Credentials, ref CredentialsRef) (Connection, error) {
	return s.commit(ctx, c, func(c *Connection) error {
		if c.Credentials.Generation != ref.Generation {
			return errLate
		}
		s.applyCredentials(c, p, creds, ref)
		return nil
	})
}

// stillNeeded reports whether the credentials must be renewed. A connection with
// a stale reference may be due only because it should be moved.
func (a *attempt) stillNeeded() bool {
	if a.freshness.due && a.CredentialStore.Stale(a.connection.Credentials) {
		return !a.Now().Before(a.refreshAt(a.platform.Describe().Cadence, a.credentials))
	}
	return !a.freshness.satisfiedBy(a.connection, a.Now())
}

// checkPreconditions makes sure that the exchange can be sent, and that its
// result can be stored.
func (a *attempt) checkPreconditions(ctx context.Context) error {
	// What does not expire has nothing to renew either, and is checked: the
	// OAuth 1.0a keys of a platform that otherwise rotates.
	model := a.platform.Describe().Cadence.Model
	if !a.credentials.renewable() && !a.credentials.ExpiresAt.IsZero() && model != Permanent && model != Extending && a.connection.alive(a.Now()) {
		return &Error{Code: ReauthorizationRequired, Reason: reasonNoRefreshToken, Message: "the platform gave no refresh token: connect again with consent"}
	}
	if err := a.checkTurn(ctx); err != nil {
		return err
	}
	app, err := a.Service.app(ctx, a.connection.Platform)
	if err != nil {
		return err
	}
	a.app = app
	if a.freshness.force {
		if err := a.reserveForced(ctx, a.connection); err != nil {
			return err
		}
	}
	if err := a.CredentialStore.Prepare(ctx); err != nil {
		return internal("preparing the credential store", err)
	}
	if insufficientTime(ctx) {
		return errInsufficientTime()
	}
	return nil
}

// checkTurn makes sure that the turn is one of the credentials' client. The record
// of the previous release does not name the client.
func (a *attempt) checkTurn(ctx context.Context) error {
	key := a.connection.breakerKey()
	key.Client = breakerClient(a.platform, a.connection.Owner, a.credentials)
	if key == a.turn.breaker.BreakerKey {
		return nil
	}
	a.releaseProbe(ctx, a.turn)
	now := a.Now()
	t, shut, err := a.allow(ctx, key, a.connection.Owner, now)
	if err != nil {
		return err
	}
	if a.turn = t; shut != nil {
		return shut.err(now)
	}
	return nil
}

// exchange sends the credentials to the platform, and returns the outcome.
func (a *attempt) exchange(ctx context.Context) (outcome, error) {
	if a.appReplaced() {
		return outcomeAppRefused, errAppReplaced(nil)
	}
	sent := a.credentials
	sent.AccountID, sent.UserID = "", ""
	if sent.ClientID != "" {
		sent.ConsentedAt = a.connection.consentedAt()
	}
	renewed, err := withCurrentOrPreviousSecret(ctx, a.Service, a.app, clientRefused, func(app App) (Credentials, error) {
		ctx, cancel := context.WithTimeout(ctx, ExchangeBudget)
		defer cancel()
		return a.platform.Refresh(ctx, app, sent)
	})
	switch code := AsError(err); {
	case err == nil:
	case code.Code.GrantDead():
		if a.verifiedWithAnotherKey() {
			return outcomeAppRefused, errAppReplaced(err)
		}
		return outcomeGrantDead, err
	case code.Code.AppRefused() && !a.clientOfImportRefused(err):
		return outcomeAppRefused, err
	default:
		return outcomeTransient, err
	}
	renewed.ConsentedAt = time.Time{}
	renewed.ClientID, renewed.ConsentID, renewed.Generation = a.credentials.ClientID, a.connection.ConsentID, a.credentials.Generation
	a.renewed = a.withProofs(renewed)
	if !a.mustStore() {
		return outcomeUnchanged, nil
	}
	a.renewed.Generation++
	return outcomeRenewed, nil
}

// appReplaced reports whether the stored app is another one than the credentials
// were issued for.
func (a *attempt) appReplaced() bool {
	if a.credentials.ClientID != "" && a.app.ClientID != "" && a.credentials.ClientID != a.app.ClientID {
		return true
	}
	return a.credentials.renewable() && a.verifiedWithAnotherKey()
}

func errAppReplaced(cause error) *Error {
	return &Error{Code: AppMisconfigured, Reason: reasonAppReplaced, Err: cause,
		Message: "the stored app is another one than this connection was authorized for: restore it, or connect again"}
}

// recordWithBreaker records with the breaker how the call went, unless that says
// nothing about the client.
func (a *attempt) recordWithBreaker(ctx context.Context, err error) {
	if err != nil && AsError(err).Reason == reasonAppReplaced {
		a.releaseProbe(ctx, a.turn)
		return
	}
	a.recordCall(ctx, a.turn, err)
}

// clientOfImportRefused reports whether the platform refused the client of
// imported credentials. It may be a client that they brought, or the configured
// one with tokens of another, so it says nothing about the app.
func (a *attempt) clientOfImportRefused(err error) bool {
	return err != nil && AsError(err).Code.AppRefused() && a.credentials.ClientID == ""
}
