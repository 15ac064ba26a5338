package connector

import (
	"context"
	"errors"
	"time"
)

// Disconnect ends a connection at once, revokes its grant at the platform
// where it can, and deletes its credentials: so that they can be recovered for
// seven days or, with purge, for good and together with the record. The worker
// tries a platform again that cannot be reached. A second Disconnect is no
// error and undoes nothing; it finishes a purge or a data deletion that was begun.
// A purge also deletes credentials that can be recovered.
func (s *Service) Disconnect(ctx context.Context, id ID, purge bool) error {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return err
	}
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	c, err = s.markDisconnected(ctx, c, purge)
	if errors.Is(err, errLate) {
		return nil // another caller purged it
	}
	if err != nil {
		return err
	}
	if !purge && c.StatusReason == reasonRevocationPending && c.Failures > 0 {
		return nil // the worker revokes the grant, and needs the credentials for it
	}
	return s.finishDisconnect(ctx, c)
}

// markDisconnected marks a connection as disconnected, or a disconnected one to be
// purged. The record becomes due, so that the sweep finishes the disconnection if
// this caller does not: it revokes a grant that was active and deletes the
// credentials. errLate: the record is gone.
func (s *Service) markDisconnected(ctx context.Context, c Connection, purge bool) (Connection, error) {
	marked, err := s.write(ctx, c, func(c Connection) (Connection, error) {
		switch {
		case c.Status != Disconnected:
			revocable := c.Status == Active
			disconnect(&c)
			if revocable {
				c.StatusReason = reasonRevocationPending
			}
		case c.Purge || !purge:
			return c, errUnchanged
		}
		c.Purge = purge
		c.RefreshAt = s.Now().UTC().Add(disconnectWithin)
		c.UpdatedAt = s.Now().UTC()
		return c, nil
	})
	if errors.Is(err, errUnchanged) {
		return marked, nil
	}
	return marked, err
}

func disconnect(c *Connection) {
	c.Status, c.StatusReason = Disconnected, ""
	c.RefreshAt, c.Failures = time.Time{}, 0
	c.Lease, c.Attempt, c.Degraded = Lease{}, Attempt{}, Degradation{}
}

// ended reports whether c was disconnected, and whether for good: what is stored
// late for it is then deleted for good, too. The previous release marked only data
// deletions.
func (c Connection) ended() (disconnected, purged bool) {
	return c.Status == Disconnected, c.Status == Disconnected && (c.Purge || c.StatusReason == reasonDataDeletion)
}

// purge deletes the credentials of a disconnected connection, and then its
// record. The record gives way to a ticket: by that, the sweep deletes what a late
// writer stores and leaves when it crashes (I10, I13).
func (s *Service) purge(ctx context.Context, c Connection) error {
	if c.StatusReason == reasonDataDeletion || provisional(c.UserID) {
		if err := s.eraseFromEvents(ctx, c, unnamedPerson(c.ID)); err != nil {
			return err
		}
	}
	for {
		if err := s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, true); err != nil {
			return internal("deleting credentials", err)
		}
		ticket, err := s.lateSecretTicket(c)
		if err != nil {
			return err
		}
		_, err = s.Store.Commit(ctx, Change{Before: &c, Put: []Ticket{ticket}})
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return internal("deleting a connection", err)
		}
		// Another caller wrote the record, or deleted it.
		c, err = s.Store.Connection(ctx, c.ID)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return internal("reading a connection", err)
		}
	}
}

// revoke revokes the grant of a disconnected connection, unless another
// connection of the same person exists: most platforms end every grant that the
// person gave to the app.
func (s *Service) revoke(ctx context.Context, c Connection) error {
	p, err := s.platform(c.Platform)
	if err != nil {
		return err
	}
	revoker, ok := p.(Revoker)
	if !ok {
		return nil
	}
	if others, err := s.hasOthers(ctx, c); err != nil || others {
		return err
	}
	creds, _, err := s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return s.credentialsError(ctx, c, err)
	}
	if c.checkAccount(creds) != nil {
		return nil // the tokens may be those of another person, whose connection lives
	}
	app, err := s.app(ctx, c.Platform)
	if err != nil {
		return err
	}
	user := c.UserID
	if provisional(user) {
		user = ""
	}
	err = s.revokeWith(ctx, revoker, app, creds, user)
	if AsError(err) != nil && !AsError(err).Code.TryLater() {
		// Another try would fail as well. The credentials are deleted all the same.
		s.Log.WarnContext(ctx, "revoking a grant", "connection", string(c.ID), "error", err)
		return nil
	}
	return err
}

// hasOthers reports whether the person of c has another connection, or a consent that
// may lead to one.
func (s *Service) hasOthers(ctx context.Context, c Connection) (bool, error) {
	others, err := s.Store.UserConnections(ctx, c.Platform, c.UserID)
	if err != nil {
		return false, internal("finding connections of the same person", err)
	}
	for _, other := range others {
		if other.ID != c.ID {
			return true, nil
		}
	}
	return s.hasConsent(ctx, c.Platform, c.UserID)
}

// postponeRevocation leaves the revocation to the worker.
func (s *Service) postponeRevocation(ctx context.Context, c Connection, cause error) error {
	s.Log.WarnContext(ctx, "revoking a grant, to be tried again", "connection", string(c.ID), "error", cause)
	next := c
	next.StatusReason = reasonRevocationPending
	next.Failures++
	_, next.RefreshAt = s.backoff(next.Failures, AsError(cause).RetryAfter)
	next.UpdatedAt = s.Now().UTC()
	return s.commitDisconnected(ctx, c, next)
}

// finishDisconnect revokes the grant of a disconnected connection where that is
// still to be done. Then, or after too many failures, it deletes the
// credentials. A purge and a data deletion delete the record as well, and revoke
// once at most.
func (s *Service) finishDisconnect(ctx context.Context, c Connection) error {
	_, purged := c.ended()
	if c.StatusReason == reasonRevocationPending {
		err := s.revoke(ctx, c)
		switch {
		case err != nil && purged:
			s.Log.WarnContext(ctx, "revoking a grant, for the last time", "connection", string(c.ID), "error", err)
		case err != nil && c.Failures < maxRevocations:
			return s.postponeRevocation(ctx, c, err)
		}
	}
	if c.StatusReason == reasonSameAccount {
		if err := s.moveCredentials(ctx, c); err != nil {
			return err
		}
	}
	if purged {
		return s.purge(ctx, c)
	}
	if err := s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, false); err != nil {
		return internal("deleting credentials", err)
	}
	if c.RefreshAt.IsZero() {
		return nil // it was finished before
	}
	next := c
	next.RefreshAt = time.Time{}
	if next.StatusReason != reasonSameAccount {
		next.StatusReason = ""
	}
	next.UpdatedAt = s.Now().UTC() // the record lasts as long as the secret can be recovered
	return s.commitDisconnected(ctx, c, next)
}

// commitDisconnected writes a disconnected record. ErrConflict means that
// another caller finished the disconnection.
func (s *Service) commitDisconnected(ctx context.Context, c, next Connection) error {
	_, err := s.Store.Commit(ctx, Change{Before: &c, After: &next})
	if err != nil && !errors.Is(err, ErrConflict) {
		return internal("writing a connection", err)
	}
	return nil
}
