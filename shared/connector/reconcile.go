package connector

import (
	"context"
	"errors"
)

// reconcile returns c with its newest credentials. A writer that crashed after
// it stored credentials and before it wrote the record leaves a record that
// refers to older ones: reconcile makes the record refer to the newest, and the
// platform is not asked (I7). Token, refresh and markNeedsReauth use it.
//
// A renewal changes nothing else. Only a newer consent makes a connection
// active that was marked needs_reauth: a renewal proves nothing against a
// notice of the platform or its refusal.
//
// holder is the caller's lease, empty where it has none: its mark is then of
// the newest credentials. The mark of another holder stays as it is.
func (s *Service) reconcile(ctx context.Context, p Platform, c Connection, holder string) (Connection, Credentials, error) {
	creds, ref, err := s.CredentialStore.Latest(ctx, c.credentialsKey(), c.Credentials)
	if err != nil {
		return c, Credentials{}, s.credentialsError(ctx, c, err)
	}
	if ref.Generation <= c.Credentials.Generation {
		return c, creds, nil
	}
	reconciled, err := s.commit(ctx, c, func(c *Connection) error {
		if c.Credentials.Generation > ref.Generation {
			return errLate
		}
		if c.Credentials.Generation < ref.Generation {
			s.applyCredentials(c, p, creds, ref)
			s.applyReconciled(c, creds)
		}
		if holder != "" && !c.Lease.lostBy(holder) {
			c.Attempt.Generation = ref.Generation
		}
		return nil
	})
	switch {
	case errors.Is(err, errLate):
		reconciled, err = s.Connection(ctx, c.ID)
	case err == nil && reconciled.accountChanged(creds):
		s.logAccountChanged(ctx, reconciled)
	}
	return reconciled, creds, err
}

// applyReconciled records what besides the reference is known of credentials
// whose writer crashed.
func (s *Service) applyReconciled(c *Connection, creds Credentials) {
	c.updateScopes(creds.Scopes)
	c.Failures = 0
	if c.accountChanged(creds) {
		c.markAccountChanged()
		return
	}
	if c.renewedBy(creds) {
		c.LastRefreshedAt = s.Now().UTC()
		return
	}
	if creds.ConsentID != "" {
		c.ConsentID = creds.ConsentID
	}
	c.ConsentedAt = creds.IssuedAt // about when it began
	c.clearDegraded()
	if c.Status == NeedsReauth {
		c.Status, c.StatusReason = Active, ""
	}
}

// renewedBy reports whether newer credentials came from a renewal, and not from
// a consent. The previous release stored no consent id with credentials: the
// mark of an exchange that never ended tells a renewal there.
func (c Connection) renewedBy(creds Credentials) bool {
	if creds.ConsentID == "" {
		return !c.Attempt.At.IsZero() && c.Attempt.Code == ""
	}
	return creds.ConsentID == c.ConsentID
}

// reconcileConsent reconciles a connection that was marked needs_reauth, if a
// consent may have been stored since without its record. The lease of a crashed
// writer is the sign. A consent that could not acquire the lease leaves none,
// so the credential store is searched for a while as well.
func (s *Service) reconcileConsent(ctx context.Context, p Platform, c Connection) (Connection, error) {
	now := s.Now()
	leftover := c.Lease.Holder != ""
	if c.Status != NeedsReauth || c.Lease.Held(now) || !leftover && now.Sub(c.UpdatedAt) > reconcileFor {
		return c, nil
	}
	c, _, err := s.reconcile(ctx, p, c, "")
	if err != nil && !errors.Is(err, ReauthorizationRequired) {
		return c, err
	}
	if !leftover {
		return c, nil
	}
	released, err := s.release(ctx, c, c.Lease.Holder, func(*Connection) error { return nil })
	if errors.Is(err, errLate) {
		return c, nil
	}
	return released, err
}

// credentialsError returns the error for credentials of c that cannot be read. A
// connection that ended meanwhile has none, and needs no new consent.
func (s *Service) credentialsError(ctx context.Context, c Connection, err error) error {
	if errors.Is(err, ErrNotFound) {
		fresh, readErr := s.Store.Connection(ctx, c.ID)
		if errors.Is(readErr, ErrNotFound) || readErr == nil && fresh.Status == Disconnected {
			return errConnectionNotFound()
		}
		return &Error{Code: ReauthorizationRequired, Reason: reasonCredentialsMissing, Message: "the credentials are gone from the vault: send a connect link with this connection_id", Err: err}
	}
	return internal("reading credentials", err)
}
