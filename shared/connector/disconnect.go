package connector

import (
	"context"
	"errors"
	"time"
)

// maxRevocations is how often a revocation is tried before the secret is
// deleted all the same.
const maxRevocations = 20

// endedWithin is how long the end of a connection may take, its revocation and
// the deletion of its secret, before the sweep sees to it.
const endedWithin = time.Minute

// Disconnect ends a connection at once, revokes its grant at the platform
// where it can, and deletes its secret, with seven days to recover it or, with
// purge, for good together with the record. A platform that cannot be reached
// is tried again later by the worker. Disconnecting twice is no error, and
// takes nothing back; a data deletion that was begun is finished.
func (s *Service) Disconnect(ctx context.Context, id ID, purge bool) error {
	c, err := s.Connection(ctx, id)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	if c.Status != Disconnected {
		if c, err = s.markDisconnected(ctx, c); err != nil {
			return err
		}
	}
	pending := c.StatusReason == reasonRevocationPending
	switch {
	case purge || c.StatusReason == reasonDataDeletion:
		if pending {
			if err := s.revoke(ctx, c); err != nil {
				s.Log.WarnContext(ctx, "revoking a grant, for the last time", "connection", string(id), "error", err)
			}
		}
		return s.purge(ctx, c)
	case pending && c.Failures > 0:
		return nil // it is the sweep's to revoke, and needs the secret for it
	}
	return s.end(ctx, c)
}

// markDisconnected ends a connection, and says so. What is left of it, a grant
// to be revoked if it was of use, and a secret, is the sweep's should nobody
// get to it before.
func (s *Service) markDisconnected(ctx context.Context, c Connection) (Connection, error) {
	marked, err := s.commit(ctx, c, func(c *Connection) error {
		revocable := c.Status == Active
		disconnect(c)
		c.RefreshAt = s.Now().UTC().Add(endedWithin)
		if revocable {
			c.StatusReason = reasonRevocationPending
		}
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return s.Connection(ctx, c.ID)
	}
	if err == nil {
		s.publish(ctx, EventDisconnected, marked, "")
	}
	return marked, err
}

func disconnect(c *Connection) {
	c.Status, c.StatusReason = Disconnected, ""
	c.RefreshAt, c.Failures = time.Time{}, 0
	c.Lease, c.Attempt = Lease{}, Attempt{}
}

// purge deletes what is left of a disconnected connection: the secret, and
// then the record.
func (s *Service) purge(ctx context.Context, c Connection) error {
	if err := s.Vault.Delete(ctx, credentialsName(c.ID), true); err != nil {
		return internal("deleting credentials", err)
	}
	if err := s.Store.Delete(ctx, c.ID, c.Revision); err != nil && !errors.Is(err, ErrConflict) {
		return internal("deleting a connection", err)
	}
	return nil
}

// revoke ends the grant of a disconnected connection at the platform, unless
// another connection stands on the same person there: most platforms end
// everything that a person ever granted to the app.
func (s *Service) revoke(ctx context.Context, c Connection) error {
	p, err := s.platform(c.Platform)
	if err != nil {
		return err
	}
	revoker, ok := p.(Revoker)
	if !ok {
		return nil
	}
	others, err := s.Store.UserConnections(ctx, c.Platform, c.UserID)
	if err != nil {
		return internal("finding connections of the same person", err)
	}
	for _, other := range others {
		if other.ID != c.ID {
			return nil
		}
	}
	creds, _, err := s.currentCredentials(ctx, c)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
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
		// It will not go better later: forgetting is all that is left.
		s.Log.WarnContext(ctx, "revoking a grant", "connection", string(c.ID), "error", err)
		return nil
	}
	return err
}

// postponeRevocation leaves a disconnected connection to the worker.
func (s *Service) postponeRevocation(ctx context.Context, c Connection, cause error) error {
	s.Log.WarnContext(ctx, "revoking a grant, to be tried again", "connection", string(c.ID), "error", cause)
	c.StatusReason = reasonRevocationPending
	c.Failures++
	_, c.RefreshAt = s.backoff(c.Failures, AsError(cause).RetryAfter)
	c.UpdatedAt = s.Now().UTC()
	if _, err := s.Store.Update(ctx, c); err != nil && !errors.Is(err, ErrConflict) {
		return internal("postponing a revocation", err)
	}
	return nil
}

// end revokes the grant of a disconnected connection where that is still to be
// done, and deletes the secret once it is or has failed too often; else it is
// left to the worker.
func (s *Service) end(ctx context.Context, c Connection) error {
	if c.StatusReason == reasonRevocationPending {
		if err := s.revoke(ctx, c); err != nil && c.Failures < maxRevocations {
			return s.postponeRevocation(ctx, c, err)
		}
	}
	if err := s.Vault.Delete(ctx, credentialsName(c.ID), false); err != nil {
		return internal("deleting credentials", err)
	}
	if c.RefreshAt.IsZero() {
		return nil // it had ended before
	}
	c.StatusReason, c.RefreshAt = "", time.Time{}
	if _, err := s.Store.Update(ctx, c); err != nil && !errors.Is(err, ErrConflict) {
		return internal("writing a connection", err)
	}
	return nil
}
