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
		return s.recordIntent(ctx, c, to.consent != nil)
	}
	return s.recordImport(ctx, pending{
		Authorization: Authorization{Platform: c.Platform, Owner: c.Owner, Scopes: to.requested},
		Grants:        []pendingGrant{{AccountID: c.AccountID, AccountName: c.AccountName, UserID: c.UserID, Warning: g.Warning, VerifiedAt: g.VerifiedAt}},
		Began:         c.ConsentedAt,
		ConnectionID:  c.ID,
	})
}

// recordImport writes the ticket of an import under the id of the connection.
func (s *Service) recordImport(ctx context.Context, p pending) (RecordKey, error) {
	now := s.Now().UTC()
	p.id, p.Imported = string(p.ConnectionID), true
	p.ConfirmBefore, p.RevokeAfter = now.Add(pendingLife), now.Add(recordWithin)
	ticket, err := p.ticket(p.ConfirmBefore)
	if err != nil {
		return RecordKey{}, err
	}
	// A first try of the same import may have left its ticket.
	if _, err := s.Store.Commit(ctx, Change{Overwrite: []Ticket{ticket}}); err != nil {
		return RecordKey{}, internal("storing a pending import", err)
	}
	return p.recordKey(), nil
}

// intendRenewal writes the ticket of credentials that the verification may renew, so that
// they can be stored as soon as the platform answers. Their account is not known yet.
func (i *importing) intendRenewal(ctx context.Context) error {
	if i.token == nil || i.request.SkipVerify || !i.rotates(i.brought) {
		return nil
	}
	i.intended = true
	_, err := i.recordImport(ctx, pending{
		Authorization: Authorization{Platform: i.request.Platform, Owner: i.request.Owner},
		Grants:        []pendingGrant{{AccountName: i.request.AccountName}},
		Began:         i.began,
		ConnectionID:  i.newID,
	})
	return err
}

// storeRenewed stores what the verification renewed, before anything else: the refresh
// token of the file is spent. A failure is logged, and the credentials are stored with
// their connection.
func (i *importing) storeRenewed(ctx context.Context, grants []Grant) {
	if !i.intended || len(grants) != 1 || !i.renewed(grants[0]) {
		return
	}
	g := grants[0]
	consent, err := i.newName()
	if err == nil {
		key := CredentialsKey{Kind: OfConnection, ID: string(i.newID), Owner: i.request.Owner, Platform: i.request.Platform}
		g.Credentials.Generation, g.Credentials.ConsentID = 1, consent
		g.Credentials.AccountOwed = g.Credentials.AccountID == ""
		_, err = i.CredentialStore.Put(ctx, key, CredentialsRef{}, g.Credentials)
	}
	if err != nil {
		i.Log.WarnContext(ctx, "storing the renewed credentials of an import", "connection", string(i.newID), "error", err)
	}
}

// dropIntent deletes what was stored for a connection that was not created, after the grant
// was saved elsewhere or was not needed. What fails is left to the sweep.
func (i *importing) dropIntent(ctx context.Context) {
	if !i.intended {
		return
	}
	key := RecordKey{Kind: PendingKind, ID: string(i.newID)}
	p, err := i.pending(ctx, key)
	if err == nil {
		err = i.deletePending(ctx, p, key)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		i.Log.WarnContext(ctx, "deleting what is left of an import", "connection", string(i.newID), "error", err)
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
// another one to the account, that one stays as it is if it is active, unless the
// platform renewed the credentials of the import after it was connected.
func (s *Service) finishPending(ctx context.Context, pend pending) (Connection, bool, error) {
	p, err := s.platform(pend.Authorization.Platform)
	if err != nil {
		return Connection{}, false, err
	}
	grants, err := s.loadPending(ctx, pend)
	renewed := pend.Grants[0].AccountID == "" // stored by storeRenewed
	if renewed && len(grants) > 0 {
		g := &grants[0]
		if g.Account.ID = g.Credentials.AccountID; g.Account.ID == "" {
			g.Account.ID, g.Credentials.AccountOwed = provisionalID(p, g.Credentials), true
		}
	}
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
		// What is remembered of the refresh token names a connection that is not created.
		if err := s.recordMerge(ctx, pend.ConnectionID, c.ID); err != nil {
			return Connection{}, false, err
		}
		if c.Status != Active || renewed && c.consentedAt().Before(pend.began()) {
			if c, err = s.replaceCredentials(ctx, p, c, grants[0], destination{requested: pend.Authorization.Scopes}); err != nil {
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
	created, err := s.commitAndTell(ctx, Change{After: &c, Drop: []RecordKey{pend.recordKey()}})
	if err != nil {
		// Another caller may have finished it.
		return s.afterFailedCreate(ctx, c, destination{newID: c.ID}, err)
	}
	return created, nil
}
