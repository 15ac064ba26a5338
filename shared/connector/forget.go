package connector

import (
	"context"
	"errors"
)

// A secret keeps its former versions, and no version can be deleted alone. Where
// credentials of another person follow in a connection, or those of a person who asked
// for an erasure in between, the secret must not hold both: the new ones go into the
// record, the secret is deleted for good, and they are stored in a new one, by the
// worker where that fails.

// mustForget reports whether no version of the credentials of c may be left once g
// follows on them.
func (c Connection) mustForget(g Grant) bool {
	if c.Credentials.IsZero() {
		return false
	}
	return c.UserID != userOf(g) || c.changesAccount(g) || g.erased != nil && !g.erased.precedes(c.consentedAt())
}

// changesAccount reports whether the account of c has another id in g. Credentials are
// bound to the id. The vault must therefore have no credentials of g before the record
// has the new id.
func (c Connection) changesAccount(g Grant) bool {
	return !c.accountUnknown() && c.AccountID != g.Account.ID
}

// putFor stores the credentials of a grant that follows on c. Where the former ones must
// be forgotten it only holds them; where that fails it stores them, and the worker
// tries again. If the account has another id, it fails instead.
func (s *Service) putFor(ctx context.Context, c, next Connection, g Grant) (CredentialsRef, error) {
	if c.mustForget(g) {
		ref, err := s.CredentialStore.Hold(ctx, next.credentialsKey(), g.Credentials)
		if err == nil {
			return ref, nil
		}
		if c.changesAccount(g) {
			return CredentialsRef{}, internal("sealing credentials", err)
		}
		s.Log.WarnContext(ctx, "sealing credentials into the record, to forget the former ones", "connection", string(c.ID), "error", err)
	}
	return s.putLiving(ctx, next, c.Credentials, g.Credentials)
}

// startSecret deletes the secret that must be forgotten, and stores the credentials that the
// record holds in a new one. It needs the lease, and releases it: without it the deletion
// could hit what the next holder stored. What fails is left to the worker.
func (s *Service) startSecret(ctx context.Context, p Platform, c Connection, creds Credentials, holder string) Connection {
	if !c.ForgetSecret || holder == "" || c.Lease.lostBy(holder) {
		return c
	}
	c = s.forgetSecret(ctx, c)
	if !c.ForgetSecret && s.CredentialStore.Stale(c.Credentials) {
		c = s.storeStale(ctx, p, c, creds)
	}
	released, err := s.release(ctx, c, holder, func(*Connection) error { return nil })
	if err == nil {
		return released
	}
	if !errors.Is(err, errLate) {
		s.Log.WarnContext(ctx, "releasing a lease", "connection", string(c.ID), "error", err)
	}
	return c
}

// forgetSecret deletes the secret of a connection whose record holds the credentials
// themselves. What fails is left to the worker.
func (s *Service) forgetSecret(ctx context.Context, c Connection) Connection {
	if !c.ForgetSecret || !s.CredentialStore.Stale(c.Credentials) {
		return c
	}
	err := s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, true)
	forgot := c
	if err == nil {
		forgot, err = s.commit(ctx, c, func(now *Connection) error {
			if now.Credentials.Generation != c.Credentials.Generation {
				return errLate
			}
			now.ForgetSecret = false
			return nil
		})
	}
	if err != nil && !errors.Is(err, errLate) {
		s.Log.WarnContext(ctx, "deleting a secret that must be forgotten", "connection", string(c.ID), "error", err)
	}
	if err != nil {
		return c
	}
	return forgot
}

// forgetFormer has the record hold the credentials, where their secret is still to be
// forgotten, and deletes it.
func (a *attempt) forgetFormer(ctx context.Context) {
	c := a.connection
	if !c.ForgetSecret {
		return
	}
	if !a.CredentialStore.Stale(c.Credentials) {
		ref, err := a.CredentialStore.Hold(ctx, c.credentialsKey(), a.credentials)
		if err == nil {
			c, err = a.recordMoved(ctx, a.platform, c, a.credentials, ref)
		}
		if err != nil {
			a.Log.WarnContext(ctx, "sealing credentials into the record", "connection", string(c.ID), "error", err)
			return
		}
	}
	a.connection = a.forgetSecret(ctx, c)
}
