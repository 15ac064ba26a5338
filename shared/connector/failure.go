package connector

import (
	"context"
	"errors"
	"time"
)

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
		if c.Lease.another(holder) {
			return errSuperseded
		}
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
	appRefused := e.Code.AppRefused() && !importRefused(creds, e)
	recorded, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Lease.another(holder) {
			return errSuperseded
		}
		if !appRefused {
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
		if appRefused {
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

// importRefused reports whether the platform refused the client of imported
// credentials. It may be one that they brought, or the configured one with
// somebody else's tokens, so it says nothing about the app, and must not keep
// other connections from being renewed.
func importRefused(creds Credentials, cause error) bool {
	e := AsError(cause)
	return e != nil && e.Code.AppRefused() && creds.ClientID == ""
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
			if fresh, err = s.heal(ctx, p, fresh, current, version, holder); err != nil {
				return fresh, err
			}
		}
		return s.foundNewer(ctx, fresh, holder), nil
	}
	reason := cause.Reason
	switch {
	case spent:
		reason = reasonRotationLost
	case reason == "":
		reason = reasonGrantRefused
	}
	condemned, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Generation > creds.Generation || c.Lease.another(holder) {
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
	return condemned, &Error{Code: ReauthorizationRequired, Reason: reason, Message: reauthMessage, Err: cause}
}

// foundNewer gives the lease of a refused attempt up, with its mark: newer
// credentials stand, of which nothing is uncertain.
func (s *Service) foundNewer(ctx context.Context, c Connection, holder string) Connection {
	released, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Lease.Holder != holder {
			return errSuperseded
		}
		c.Lease, c.Attempt = Lease{}, Attempt{}
		return nil
	})
	if err != nil {
		return c
	}
	return released
}

const reauthMessage = "the authorization is gone: send the person a connect link with this connection_id"

func errReauth(reason string) error {
	return &Error{Code: ReauthorizationRequired, Reason: reason, Message: reauthMessage}
}
