package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Refresh renews the credentials of one connection now. When it returns nil
// the new credentials are in the vault and the record points to them. On error
// the record still points to what it did before.
func (s *Service) Refresh(ctx context.Context, id ID) (Connection, error) {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	if c.Status == Disconnected {
		return Connection{}, errConnectionNotFound()
	}
	return s.renew(ctx, c, need{force: true, since: s.Now()})
}

// need is for whom, and how urgently, a connection is renewed.
type need struct {
	// force asks for a renewal after since, whatever the token's age.
	force bool
	since time.Time
	// minTTL is the life that the token must have left.
	minTTL time.Duration
	// due is set by the sweep's worker, who renews what is due and waits for
	// nobody.
	due bool
}

// met reports whether c serves the need as it is.
func (n need) met(c Connection, now time.Time) bool {
	switch {
	case n.due:
		return c.RefreshAt.IsZero() || now.Before(c.RefreshAt)
	case n.force:
		return c.LastRefreshedAt.After(n.since)
	}
	return c.freshFor(n.minTTL, now)
}

// errBusy says that somebody else is refreshing the connection.
var errBusy = errors.New("the lease is held")

// renew brings the credentials of c up to what is needed. At most one
// exchange of a connection is under way anywhere: who meets a lease waits for
// its result, and takes it as their own, good or bad.
func (s *Service) renew(ctx context.Context, c Connection, n need) (Connection, error) {
	began := s.Now()
	for try := 0; ; try++ {
		now := s.Now()
		if err := s.usable(c); err != nil {
			return c, err
		}
		if n.met(c, now) {
			return c, nil
		}
		waited := try > 0 && c.Attempt.Code != "" && c.Attempt.At.After(began)
		switch {
		case waited:
			return c, c.Attempt.err(now)
		case c.Lease.Held(now):
			if n.due {
				return c, errBusy
			}
			if s.left(ctx) < storeTime {
				return c, &Error{Code: PlatformUnavailable, Message: "a refresh is under way and took too long: try again", RetryAfter: time.Second}
			}
			if err := s.pause(ctx, try); err != nil {
				return c, internal("waiting for a refresh", err)
			}
		case now.Before(c.Attempt.RetryAt):
			if err := s.waitUntil(ctx, c.Attempt.RetryAt, n, c.Attempt.err(now)); err != nil {
				return c, err
			}
		default:
			breaker, allowed, err := s.enter(ctx, c.Platform, now)
			if err != nil {
				return c, err
			}
			if !allowed {
				if n.due {
					return c, errors.Join(breaker.err(now), s.postpone(ctx, c, breaker.OpenUntil))
				}
				if err := s.waitUntil(ctx, breaker.OpenUntil, n, breaker.err(now)); err != nil {
					return c, err
				}
				break
			}
			renewed, err := s.attempt(ctx, c, n, breaker)
			if !errors.Is(err, ErrConflict) {
				return renewed, err
			}
		}
		var err error
		if c, err = s.Store.Connection(ctx, c.ID); err != nil {
			return c, internal("reading a connection", err)
		}
	}
}

// waitUntil waits, where that is short and leaves time enough for an exchange;
// else it returns cause. The sweep's worker waits for nothing.
func (s *Service) waitUntil(ctx context.Context, at time.Time, n need, cause error) error {
	wait := at.Sub(s.Now())
	if n.due || wait > maxCallerBackoff || s.left(ctx) < wait+exchangeTime+storeTime {
		return cause
	}
	if err := s.Sleep(ctx, max(wait, time.Millisecond)); err != nil {
		return internal("waiting to try again", err)
	}
	return nil
}

// usable returns the error of a connection that has nothing to hand out or
// renew.
func (s *Service) usable(c Connection) error {
	switch c.Status {
	case Active:
		return nil
	case Manual:
		p, err := s.platform(c.Platform)
		if err != nil {
			return err
		}
		return errManualMode(p.Describe())
	case NeedsReauth:
		return errReauth(c.StatusReason)
	}
	return errConnectionNotFound()
}

func errReauth(reason string) error {
	return &Error{Code: ReauthorizationRequired, Reason: reason, Message: errReauthMessage}
}

// err is the failure of an attempt, for those who came to the same
// connection.
func (a Attempt) err(now time.Time) error {
	code := a.Code
	if code == "" {
		code = PlatformUnavailable
	}
	return &Error{Code: code, Message: a.Message, RetryAfter: max(0, a.RetryAt.Sub(now))}
}

// attempt takes the lease of c, reads its credentials again and exchanges
// them. ErrConflict: somebody else moved first.
func (s *Service) attempt(ctx context.Context, c Connection, n need, breaker Breaker) (Connection, error) {
	p, err := s.platform(c.Platform)
	if err != nil {
		return c, err
	}
	if s.left(ctx) < exchangeTime+storeTime {
		return c, errTooLate()
	}
	now := s.Now().UTC()
	if n.force {
		if c.ForcedAt, err = countForced(c.ForcedAt, now); err != nil {
			return c, err
		}
	}
	before := c.Attempt
	if s.holdBack(p, c, now) {
		return c, &Error{Code: PlatformUnavailable, Reason: reasonOutcomeUnknown, RetryAfter: c.ExpiresAt.Sub(now),
			Message: "the answer to the last refresh was lost; the refresh token is not shown again while the access token still works"}
	}
	leased, err := s.takeLease(ctx, c, Attempt{
		Generation: c.Generation,
		At:         now,
		Uncertain:  p.Describe().Traits.RotatesRefreshToken,
	})
	if err != nil {
		if errors.Is(err, ErrConflict) {
			return c, err
		}
		return c, internal("taking the lease", err)
	}

	// From here on somebody may be waiting for the result, and soon the
	// platform will have acted: a caller who goes away changes nothing.
	ctx, cancel := finish(ctx)
	defer cancel()
	return s.exchange(ctx, p, leased, before, n, breaker)
}

const (
	reasonOutcomeUnknown = "outcome_unknown"
	reasonRotationLost   = "rotation_lost"
	reasonAppReplaced    = "app_replaced"
)

// holdBack reports whether a refresh token that may be spent must not be shown
// again yet. Platforms take a second showing for theft and end the whole
// family of tokens (RFC 9700, 4.14.2), so as long as the access token works it
// is worth more than the try. Once it is dead nothing can be lost by trying
// once more.
func (s *Service) holdBack(p Platform, c Connection, now time.Time) bool {
	traits := p.Describe().Traits
	if !c.Attempt.Uncertain || c.Attempt.Generation != c.Generation || !traits.RotatesRefreshToken {
		return false
	}
	return c.alive(now) && now.Sub(c.Attempt.At) >= traits.Cadence.Grace
}

// exchange renews the credentials of a leased connection and commits them.
// before is the attempt that the lease wrote over.
func (s *Service) exchange(ctx context.Context, p Platform, c Connection, before Attempt, n need, breaker Breaker) (Connection, error) {
	creds, version, err := s.currentCredentials(ctx, c)
	if err != nil {
		return s.unsent(ctx, c, before, err)
	}
	if creds.Generation > c.Generation {
		// Somebody died between the vault and the record. What they brought
		// home is good, and may be all that is needed.
		if c, err = s.heal(ctx, p, c, creds, version); err != nil {
			return c, err
		}
		before = Attempt{}
	}
	if len(c.Sealed) > 0 {
		moved, err := s.unseal(ctx, p, c, creds)
		if err != nil && n.due && s.Now().Before(s.refreshAt(p.Describe().Traits.Cadence, creds)) {
			return s.unsealLater(ctx, c, before, err)
		}
		if err == nil {
			c = moved
		}
	}
	if n.met(c, s.Now()) {
		s.release(ctx, c, c.Lease.Holder)
		return c, nil
	}
	// What does not expire has nothing to renew either, and is checked: the
	// OAuth 1.0a keys of a platform that else rotates.
	if !creds.renewable() && !creds.ExpiresAt.IsZero() && p.Describe().Traits.Cadence.Model != Permanent && c.alive(s.Now()) {
		return s.unsent(ctx, c, before, errNoRefreshToken())
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return s.unsent(ctx, c, before, err)
	}
	if creds.ClientID != "" && app.ClientID != "" && creds.ClientID != app.ClientID {
		return s.failed(ctx, c, creds, before, &Error{Code: AppMisconfigured, Reason: reasonAppReplaced,
			Message: "the stored app is another one than this connection was authorized for: restore it, or connect again"})
	}

	if err := s.Sealer.Prepare(ctx); err != nil {
		return s.unsent(ctx, c, before, internal("preparing the sealer", err))
	}
	if s.left(ctx) < exchangeTime+storeTime {
		return s.unsent(ctx, c, before, errTooLate())
	}

	renewed, err := withEither(ctx, s, app, clientRefused, func(app App) (Credentials, error) {
		exchangeCtx, cancel := context.WithTimeout(ctx, exchangeTime)
		defer cancel()
		return p.Refresh(exchangeCtx, app, creds)
	})
	s.report(ctx, breaker, err)
	if err != nil {
		return s.failed(ctx, c, creds, before, err)
	}
	return s.renewed(ctx, p, c, app, creds, renewed)
}

func errTooLate() error {
	return &Error{Code: PlatformUnavailable, Message: "too little time was left to refresh safely: try again", RetryAfter: time.Second}
}

func errNoRefreshToken() error {
	return &Error{Code: ReauthorizationRequired, Reason: "no_refresh_token", Message: "the platform gave no refresh token: connect again with consent"}
}

// renewed stores what an exchange brought: first the credentials, then the
// record, then the event.
func (s *Service) renewed(ctx context.Context, p Platform, c Connection, app App, old, creds Credentials) (Connection, error) {
	creds.ClientID = old.ClientID
	creds.Generation = old.Generation
	kept, changed := safekept{version: c.CredentialsVersion, sealed: c.Sealed}, !creds.Fields.Equal(old.Fields)
	if changed {
		creds.Generation++
		var err error
		if kept, err = s.putDurably(ctx, c, creds); errors.Is(err, errSuperseded) {
			return s.superseded(ctx, p, c, app, creds)
		} else if err != nil {
			return c, err
		}
	}
	holder, warned := c.Lease.Holder, c.Warned
	committed, err := s.commit(ctx, c, func(c *Connection) error {
		if changed && c.Generation >= creds.Generation {
			return errSuperseded
		}
		now := s.Now().UTC()
		s.adopt(c, p, creds, kept)
		if len(creds.Scopes) > 0 {
			c.Scopes, c.MissingScopes = creds.Scopes, missing(union(c.Scopes, c.MissingScopes), creds.Scopes)
		}
		c.LastRefreshedAt = now
		if !changed {
			c.VerifiedAt = now
		}
		c.Failures, c.Attempt = 0, Attempt{}
		c.Warned = dueWarning(*c, now)
		endLease(c, holder)
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return s.superseded(ctx, p, c, app, creds)
	}
	if err != nil {
		return c, err
	}
	if changed {
		s.publish(ctx, EventRefreshed, committed, "")
	}
	s.warn(ctx, committed, warned)
	return committed, nil
}

// vaultTries is how often the vault is tried before its stand-in.
const vaultTries = 3

// putDurably puts renewed credentials into the vault or, where that cannot be
// written, seals them for the record: after a rotation they are the only ones
// that live. errSuperseded: the connection is gone.
func (s *Service) putDurably(ctx context.Context, c Connection, creds Credentials) (safekept, error) {
	for try := 1; ; try++ {
		putCtx, cancel := context.WithTimeout(ctx, time.Second)
		version, err := s.putCredentials(putCtx, c.ID, creds)
		cancel()
		if err == nil {
			return safekept{version: version}, nil
		}
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		if errors.Is(readErr, ErrNotFound) || readErr == nil && fresh.Status == Disconnected {
			return safekept{}, errSuperseded
		}
		if try < vaultTries && s.pause(ctx, try) == nil {
			continue
		}
		s.Log.WarnContext(ctx, "storing renewed credentials in the record, sealed", "connection", string(c.ID), "platform", string(c.Platform), "error", err)
		value, encodeErr := creds.encode()
		if encodeErr != nil {
			return safekept{}, internal("sealing credentials", encodeErr)
		}
		sealed, sealErr := s.Sealer.Seal(ctx, value, sealPurpose(c.ID, creds.Generation))
		if sealErr != nil {
			return safekept{}, internal("sealing credentials", sealErr)
		}
		return safekept{version: c.CredentialsVersion, sealed: sealed}, nil
	}
}

// unseal moves credentials from the record into the vault.
func (s *Service) unseal(ctx context.Context, p Platform, c Connection, creds Credentials) (Connection, error) {
	version, err := s.putCredentials(ctx, c.ID, creds)
	if err != nil {
		return c, err
	}
	return s.commit(ctx, c, func(c *Connection) error {
		if c.Generation != creds.Generation {
			return errSuperseded
		}
		s.adopt(c, p, creds, safekept{version: version})
		return nil
	})
}

// unsealLater gives the lease up and has the vault tried again soon.
func (s *Service) unsealLater(ctx context.Context, c Connection, before Attempt, cause error) (Connection, error) {
	s.Log.WarnContext(ctx, "moving sealed credentials into the vault", "connection", string(c.ID), "error", cause)
	holder := c.Lease.Holder
	return s.commit(ctx, c, func(c *Connection) error {
		c.Attempt = before
		c.RefreshAt = s.Now().UTC().Add(unsealAfter)
		endLease(c, holder)
		return nil
	})
}

// superseded deals with renewed credentials that nobody waits for any more.
// If the connection was disconnected meanwhile, the late grant is revoked and
// its secret deleted; deleted stays deleted.
func (s *Service) superseded(ctx context.Context, p Platform, c Connection, app App, creds Credentials) (Connection, error) {
	fresh, err := s.Store.Connection(ctx, c.ID)
	if err == nil && fresh.Status != Disconnected {
		return fresh, nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return c, internal("reading a connection", err)
	}
	s.giveBack(ctx, p, app, []Grant{{Account: Account{ID: c.AccountID}, UserID: c.UserID, Credentials: creds}})
	if err := s.Vault.Delete(ctx, credentialsName(c.ID), false); err != nil {
		s.Log.ErrorContext(ctx, "deleting late credentials", "connection", string(c.ID), "error", err)
	}
	return c, errConnectionNotFound()
}

// heal makes the record point to newer credentials that are in the vault
// already. The lease is kept.
func (s *Service) heal(ctx context.Context, p Platform, c Connection, creds Credentials, version string) (Connection, error) {
	healed, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Generation >= creds.Generation {
			return errSuperseded
		}
		s.adopt(c, p, creds, safekept{version: version})
		if len(creds.Scopes) > 0 {
			c.Scopes = creds.Scopes
		}
		c.LastRefreshedAt = s.Now().UTC()
		c.Attempt.Generation = creds.Generation
		c.Failures = 0
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return s.Connection(ctx, c.ID)
	}
	return healed, err
}

// takeOver mends a connection that was given up, and that somebody
// re-authorized and died before they could say so. A lease that they left
// behind tells; where they had none, the vault is looked into for a while.
// Any other connection is returned as it is.
func (s *Service) takeOver(ctx context.Context, c Connection) (Connection, error) {
	now := s.Now()
	left := c.Lease.Holder
	if c.Status != NeedsReauth || c.Lease.Held(now) || left == "" && now.Sub(c.UpdatedAt) > takeOverFor {
		return c, nil
	}
	p, err := s.platform(c.Platform)
	if err != nil {
		return c, err
	}
	creds, version, err := s.currentCredentials(ctx, c)
	if err != nil && !errors.Is(err, ReauthorizationRequired) {
		return c, err
	}
	if left == "" && creds.Generation <= c.Generation {
		return c, nil
	}
	mended, err := s.commit(ctx, c, func(c *Connection) error {
		if creds.Generation > c.Generation && c.Status == NeedsReauth {
			s.adopt(c, p, creds, safekept{version: version})
			c.Status, c.StatusReason, c.Failures = Active, "", 0
			c.Scopes, c.MissingScopes = creds.Scopes, missing(union(c.Scopes, c.MissingScopes), creds.Scopes)
		}
		endLease(c, left)
		return nil
	})
	if err != nil {
		return c, err
	}
	if mended.Status == Active {
		s.publish(ctx, EventRecovered, mended, "")
	}
	return mended, nil
}

// takeOverFor is how long after a connection was given up the vault is looked
// into for what somebody may have brought who died without a trace.
const takeOverFor = time.Hour

// unsent ends an attempt in which nothing was sent to the platform.
func (s *Service) unsent(ctx context.Context, c Connection, before Attempt, cause error) (Connection, error) {
	holder := c.Lease.Holder
	released, err := s.commit(ctx, c, func(c *Connection) error {
		c.Attempt = before
		endLease(c, holder)
		return nil
	})
	if err != nil {
		s.Log.WarnContext(ctx, "giving a lease up", "connection", string(c.ID), "error", err)
		return c, cause
	}
	return released, cause
}

// failed records how an exchange failed. What it means is for the platform's
// own words to say: a dead grant condemns the connection, once the stored
// credentials were read again and are still those that were sent; a refused
// app condemns nobody; all else passes.
func (s *Service) failed(ctx context.Context, c Connection, creds Credentials, before Attempt, cause error) (Connection, error) {
	e := AsError(cause)
	spent := before.Uncertain && before.Generation == creds.Generation
	if e.Code.GrantDead() {
		return s.condemn(ctx, c, creds, spent, e)
	}
	holder := c.Lease.Holder
	rotates := c.Attempt.Uncertain
	recorded, err := s.commit(ctx, c, func(c *Connection) error {
		if !e.Code.AppRefused() {
			c.Failures++
		}
		caller, sweep := s.backoff(max(c.Failures, 1), e.RetryAfter)
		c.Attempt = Attempt{
			Generation: creds.Generation,
			At:         s.Now().UTC(),
			Uncertain:  rotates && (e.Uncertain || spent),
			Code:       e.Code,
			Message:    e.Message,
			RetryAt:    caller,
		}
		c.RefreshAt = sweep
		if c.Attempt.Uncertain && sweep.Before(c.ExpiresAt) {
			c.RefreshAt = c.ExpiresAt
		}
		if e.Code.AppRefused() {
			c.Attempt.RetryAt = s.Now().UTC()
		}
		endLease(c, holder)
		return nil
	})
	if err != nil {
		return c, errors.Join(e, err)
	}
	return recorded, e
}

// condemn marks a connection that only a person can mend, unless the refusal
// was for credentials that are not the stored ones any more.
func (s *Service) condemn(ctx context.Context, c Connection, creds Credentials, spent bool, cause *Error) (Connection, error) {
	holder := c.Lease.Holder
	fresh, err := s.Store.Connection(ctx, c.ID)
	if err != nil {
		return c, internal("reading a connection", err)
	}
	current, version, err := s.currentCredentials(ctx, fresh)
	if err != nil && !errors.Is(err, ReauthorizationRequired) {
		return s.unsent(ctx, c, Attempt{}, err)
	}
	if err == nil && current.Generation > creds.Generation {
		p, err := s.platform(c.Platform)
		if err != nil {
			return c, err
		}
		if fresh.Generation < current.Generation {
			if fresh, err = s.heal(ctx, p, fresh, current, version); err != nil {
				return fresh, err
			}
		}
		s.release(ctx, fresh, holder)
		return fresh, nil
	}
	reason := cause.Reason
	switch {
	case spent:
		reason = reasonRotationLost
	case reason == "":
		reason = "grant_refused"
	}
	condemned, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Generation > creds.Generation {
			return errSuperseded
		}
		c.Status, c.StatusReason = NeedsReauth, reason
		c.RefreshAt = time.Time{}
		c.Attempt = Attempt{}
		c.Failures++
		endLease(c, holder)
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return s.Connection(ctx, c.ID)
	}
	if err != nil {
		return c, err
	}
	s.publish(ctx, EventReauth, condemned, reason)
	return condemned, &Error{Code: ReauthorizationRequired, Reason: reason, Message: errReauthMessage, Err: cause}
}

const errReauthMessage = "the authorization is gone: send the person a connect link with this connection_id"

// How many refreshes of one connection callers can force in a while. Every
// one of them rotates a token on some platforms.
const (
	maxForced   = 10
	forcedWhile = 10 * time.Minute
)

// countForced adds a forced refresh at now, or says that it is one too many.
func countForced(forced []time.Time, now time.Time) ([]time.Time, error) {
	recent := slices.DeleteFunc(slices.Clone(forced), func(t time.Time) bool { return now.Sub(t) >= forcedWhile })
	if len(recent) >= maxForced {
		return forced, &Error{Code: RateLimited, Message: "this connection was refreshed by force too often", RetryAfter: recent[0].Add(forcedWhile).Sub(now)}
	}
	return append(recent, now), nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
