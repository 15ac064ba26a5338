package connector

import (
	"context"
	"errors"
)

// An import that crashes after it stored its credentials, and before their record,
// leaves a pending ticket under the id of the connection. Its refresh token may be the
// only one that lives, since the verification may have spent the one of the file. The
// import is therefore finished, by the worker or by the next import of the file.

// recordIntentFor is recordIntent of a consent, or of an import, whose ticket also says
// what is needed to finish it.
func (s *Service) recordIntentFor(ctx context.Context, c Connection, g Grant, to destination) (RecordKey, error) {
	if to.newID == "" {
		return s.recordIntent(ctx, c)
	}
	expiresAt := c.CreatedAt.Add(pendingLife)
	p := pending{
		id:            string(c.ID),
		Authorization: Authorization{Platform: c.Platform, Owner: c.Owner, Scopes: to.requested},
		Grants:        []pendingGrant{{AccountID: c.AccountID, AccountName: c.AccountName, UserID: c.UserID, Warning: g.Warning, VerifiedAt: g.VerifiedAt}},
		Began:         c.ConsentedAt,
		ConfirmBefore: expiresAt,
		ConnectionID:  c.ID,
		RevokeAfter:   c.CreatedAt.Add(recordWithin),
		Imported:      true,
	}
	ticket, err := p.ticket(expiresAt)
	if err != nil {
		return RecordKey{}, err
	}
	// A first try of the same import may have left its ticket.
	if _, err := s.Store.Commit(ctx, Change{Overwrite: []Ticket{ticket}}); err != nil {
		return RecordKey{}, internal("storing a pending import", err)
	}
	return p.recordKey(), nil
}

// dropIntent deletes what a try to create a connection left, after the grant was saved
// elsewhere or was not needed. What fails is left to the sweep.
func (s *Service) dropIntent(ctx context.Context, id ID) {
	key := RecordKey{Kind: PendingKind, ID: string(id)}
	p, err := s.pending(ctx, key)
	if err == nil {
		err = s.deletePending(ctx, p, key)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.Log.WarnContext(ctx, "deleting what is left of an import", "connection", string(id), "error", err)
	}
}

// finishImport returns the connection of an import that crashed, whose connection has
// that id: as it was created, or now. It reports false where nothing was stored.
func (s *Service) finishImport(ctx context.Context, id ID) (Connection, bool, error) {
	key := RecordKey{Kind: PendingKind, ID: string(id)}
	p, err := s.pending(ctx, key)
	if err == nil && p.Imported && !p.Erased {
		return s.finishPending(ctx, p)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Connection{}, false, err
	}
	return s.standing(ctx, id)
}

// endImport finishes an import that crashed, in the worker.
func (s *Service) endImport(ctx context.Context, p pending) (DueResult, error) {
	_, found, err := s.finishPending(ctx, p)
	switch {
	case err != nil:
		return Failed, err
	case found:
		return Finished, nil
	}
	return Gone, nil
}

// finishPending creates the connection of an import that crashed. Where the owner has
// got another one to the account since, that one stays as it is if it is active, and
// gets the credentials otherwise.
func (s *Service) finishPending(ctx context.Context, pend pending) (Connection, bool, error) {
	p, err := s.platform(pend.Authorization.Platform)
	if err != nil {
		return Connection{}, false, err
	}
	grants, err := s.loadPending(ctx, pend)
	if err == nil && len(grants) > 0 {
		err = s.checkErased(ctx, p.Describe().Name, grants)
	}
	if errors.Is(err, AccessDenied) {
		grants, err = nil, nil // the person asked for the deletion of their data meanwhile
	}
	if err != nil {
		return Connection{}, false, err
	}
	if len(grants) == 0 {
		c, stands, err := s.standing(ctx, pend.ConnectionID) // another caller may have finished it
		if err == nil && !stands {
			err = s.deletePending(ctx, pend, pend.recordKey())
		}
		return c, stands, err
	}
	for {
		c, err := s.createFinished(ctx, p, pend, grants[0])
		if !errors.Is(err, ErrConflict) {
			return c, err == nil, err
		}
		c, err = s.Store.FindAccount(ctx, pend.Authorization.Owner, p.Describe().Name, grants[0].Account.ID)
		if errors.Is(err, ErrNotFound) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return Connection{}, false, internal("finding the connection", err)
		}
		if c.Status != Active {
			if c, err = s.replaceCredentials(ctx, p, c, grants[0], pend.Authorization.Scopes); err != nil {
				return Connection{}, false, err
			}
		}
		return c, true, s.deletePending(ctx, pend, pend.recordKey())
	}
}

// createFinished writes the record of credentials that are stored. ErrConflict: the
// owner has another connection to the account.
func (s *Service) createFinished(ctx context.Context, p Platform, pend pending, g Grant) (Connection, error) {
	now := s.Now().UTC()
	c := Connection{
		ID: pend.ConnectionID, Platform: p.Describe().Name, Owner: pend.Authorization.Owner,
		ConsentID: g.Credentials.ConsentID, CreatedAt: now, UpdatedAt: now,
	}
	applyGrant(&c, g, pend.Authorization.Scopes)
	creds, ref, err := s.CredentialStore.Latest(ctx, pend.credentialsKey(0), CredentialsRef{})
	if err != nil {
		return Connection{}, internal("reading the credentials of an import", err)
	}
	s.applyCredentials(&c, p, creds, ref)
	created, err := s.Store.Commit(ctx, Change{After: &c, Drop: []RecordKey{pend.recordKey()}})
	if err == nil {
		s.publish(ctx, EventConnected, created, "")
		return created, nil
	}
	fresh, readErr := s.Store.Connection(ctx, c.ID)
	switch {
	case readErr == nil:
		return fresh, nil // another caller finished it, or the answer was lost
	case errors.Is(err, ErrConflict):
		return Connection{}, err
	}
	return Connection{}, internal("storing a connection", err)
}
