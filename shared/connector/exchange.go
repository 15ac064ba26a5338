package connector

import (
	"context"
	"errors"
	"slices"
	"time"
)

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
		if c, err = s.heal(ctx, p, c, creds, version, c.Lease.Holder); err != nil {
			return c, err
		}
		if c.Generation != creds.Generation {
			return c, ErrConflict
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
		return s.unsent(ctx, c, before, nil)
	}
	// What does not expire has nothing to renew either, and is checked: the
	// OAuth 1.0a keys of a platform that else rotates.
	model := p.Describe().Traits.Cadence.Model
	if !creds.renewable() && !creds.ExpiresAt.IsZero() && model != Permanent && model != Extending && c.alive(s.Now()) {
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
	if s.tooLate(ctx) {
		return s.unsent(ctx, c, before, errTooLate())
	}

	renewed, err := withEither(ctx, s, app, clientRefused, func(app App) (Credentials, error) {
		exchangeCtx, cancel := context.WithTimeout(ctx, exchangeTime)
		defer cancel()
		return p.Refresh(exchangeCtx, app, creds)
	})
	if importRefused(creds, err) {
		s.passOn(ctx, breaker)
	} else {
		s.report(ctx, breaker, err)
	}
	if err != nil {
		return s.failed(ctx, c, creds, before, err)
	}
	return s.renewed(ctx, p, c, app, creds, renewed)
}

func errTooLate() error {
	return &Error{Code: PlatformUnavailable, Message: "too little time was left to store what the platform would give: try again", RetryAfter: time.Second}
}

func errNoRefreshToken() error {
	return &Error{Code: ReauthorizationRequired, Reason: reasonNoRefreshToken, Message: "the platform gave no refresh token: connect again with consent"}
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

// The vault is tried vaultTries times, for vaultTime each, before its stand-in.
const (
	vaultTries = 3
	vaultTime  = time.Second
)

// putBriefly puts credentials into the vault, which has another place beside it
// and is not waited for.
func (s *Service) putBriefly(ctx context.Context, id ID, creds Credentials) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultTime)
	defer cancel()
	return s.putCredentials(ctx, id, creds)
}

// putDurably puts renewed credentials into the vault or, where that cannot be
// written, seals them for the record: after a rotation they are the only ones
// that live, so it gives up only when ctx does. errSuperseded: the connection
// is gone.
func (s *Service) putDurably(ctx context.Context, c Connection, creds Credentials) (safekept, error) {
	for try := 1; ; try++ {
		version, err := s.putBriefly(ctx, c.ID, creds)
		if err == nil {
			return safekept{version: version}, nil
		}
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		if errors.Is(readErr, ErrNotFound) || readErr == nil && fresh.Status == Disconnected {
			return safekept{}, errSuperseded
		}
		if try >= vaultTries || ctx.Err() != nil {
			sealed, sealErr := s.seal(ctx, c.ID, creds)
			if sealErr == nil {
				s.Log.WarnContext(ctx, "storing renewed credentials in the record, sealed", "connection", string(c.ID), "platform", string(c.Platform), "error", err)
				return safekept{version: c.CredentialsVersion, sealed: sealed}, nil
			}
			if ctx.Err() != nil {
				return safekept{}, internal("storing renewed credentials", errors.Join(err, sealErr))
			}
		}
		_ = s.pause(ctx, try) // with no time left, one more round seals
	}
}

func (s *Service) seal(ctx context.Context, id ID, creds Credentials) ([]byte, error) {
	value, err := creds.encode()
	if err != nil {
		return nil, err
	}
	return s.Sealer.Seal(ctx, value, sealPurpose(id, creds.Generation))
}

// unseal moves credentials from the record into the vault.
func (s *Service) unseal(ctx context.Context, p Platform, c Connection, creds Credentials) (Connection, error) {
	version, err := s.putBriefly(ctx, c.ID, creds)
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
// already. The lease is kept and, if it is holder's, its mark is now of the
// newer ones.
func (s *Service) heal(ctx context.Context, p Platform, c Connection, creds Credentials, version, holder string) (Connection, error) {
	healed, err := s.commit(ctx, c, func(c *Connection) error {
		switch {
		case c.Generation > creds.Generation:
			return errSuperseded
		case c.Generation < creds.Generation:
			s.adopt(c, p, creds, safekept{version: version})
			if len(creds.Scopes) > 0 {
				c.Scopes = creds.Scopes
			}
			c.LastRefreshedAt = s.Now().UTC()
			c.Failures = 0
		}
		if c.Lease.Holder == holder {
			c.Attempt.Generation = creds.Generation
		}
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return s.Connection(ctx, c.ID)
	}
	return healed, err
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
