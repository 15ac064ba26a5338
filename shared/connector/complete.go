package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// This file completes a consent whose code was redeemed: it asks the platform for
// the accounts, and saves them or waits for Confirm. Callback, Confirm and the
// sweep use it. Each step can be done again by another caller after a crash.

// resume continues a consent whose holder crashed or gave up. errLate: another
// caller does. A consent in a phase that is unknown is left to the next release.
func (c *consent) resume(ctx context.Context) error {
	if c.record.Phase != consentTaken && c.record.Phase != consentRedeemed {
		return errUnfinished()
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	return c.continueRedeemed(ctx)
}

// continueRedeemed reads what the code yielded, and completes the consent. Where
// the record could not be written, the vault has it.
func (c *consent) continueRedeemed(ctx context.Context) error {
	creds, ref, err := c.CredentialStore.Latest(ctx, c.credentialsKey(), c.record.Credentials.ref())
	switch {
	case errors.Is(err, ErrNotFound) && c.record.Phase == consentTaken:
		err = c.fail(ctx, &Error{Code: PlatformUnavailable, Reason: reasonOutcomeUnknown,
			Message: "the platform's answer to the authorization was lost: open the link again"}, nil)
		if c.record.Phase == consentDone {
			c.forgetRescued(ctx) // what a caller that was held up stored since
		}
		return err
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrMismatch):
		return c.fail(ctx, internal("reading what a code yielded", err), nil)
	case err != nil:
		return c.postpone(ctx, internal("reading what a code yielded", err))
	}
	c.credentials = creds
	if len(ref.Sealed) == 0 {
		if err := c.storeRedeemed(ctx); err != nil {
			return err
		}
	}
	if err := c.CredentialStore.Delete(ctx, c.credentialsKey(), CredentialsRef{}, true); err != nil {
		return c.postpone(ctx, internal("deleting what a code yielded", err))
	}
	return c.complete(ctx)
}

// openRedeemed opens what the code yielded.
func (c *consent) openRedeemed(ctx context.Context) error {
	creds, err := c.CredentialStore.Get(ctx, c.credentialsKey(), c.record.Credentials.ref())
	if err != nil {
		return internal("reading what a code yielded", err)
	}
	c.credentials = creds
	return nil
}

// complete saves the accounts of a redeemed consent, or makes it wait for the person's
// choice or for Confirm.
func (c *consent) complete(ctx context.Context) error {
	grants, err := c.readGrants(ctx)
	if err != nil && !retryable(err) && !ofApp(err) {
		err = cmp.Or(c.checkPerson(ctx, grants), err)
	}
	var target *Connection
	var selected []Grant
	if err == nil {
		c.userID = userOf(grants[0])
		target, selected, err = c.selectAccounts(ctx, grants)
	}
	switch {
	case err == nil:
		c.selected = len(selected)
		err = c.saveOrWait(ctx, selected, target)
	case errors.Is(err, QuotaExhausted) && c.record.Confirm && !c.record.Confirmed && !c.record.Choose:
		// Confirm needs no list of the accounts, and the browser is here now.
		if err = c.readLink(ctx); err == nil {
			err = c.wait(ctx)
		}
	}
	switch {
	case err == nil, errors.Is(err, errLate):
		return err
	case errors.Is(err, LinkGone):
		return c.lose(ctx)
	case errors.Is(err, errTimeShort):
		return c.handOver(ctx)
	case retryable(err) && !ofBudget(err), ofApp(err):
		return c.postpone(ctx, err)
	case len(c.savedIDs) > 0:
		// A revocation of the rest would end the saved grants too on most platforms.
		return c.recordSaved(ctx, err)
	}
	return c.fail(ctx, err, grants)
}

// readGrants returns the grants of the person. It refuses them if the person asked for a
// data deletion meanwhile. Beside an error it returns the grants to revoke.
func (c *consent) readGrants(ctx context.Context) ([]Grant, error) {
	err := c.renewExpired(ctx)
	if err == nil {
		err = c.extend(ctx)
	}
	var grants []Grant
	if err == nil {
		grants, err = c.grants(ctx)
	}
	if errors.Is(err, ReauthorizationRequired) {
		// A connection that is gone may have taken the grant with it.
		_, gone := c.target(ctx, c.record.Authorization)
		err = cmp.Or(gone, err)
	}
	if err == nil {
		err = c.checkErased(ctx, c.record.Platform, grants)
	}
	return grants, err
}

// renewExpired renews what the code yielded where the access token expired before
// the consent could be completed.
func (c *consent) renewExpired(ctx context.Context) error {
	expires := c.credentials.ExpiresAt
	if expires.IsZero() || c.Now().Before(expires) || !c.credentials.renewable() {
		return nil
	}
	if err := c.readApp(ctx); err != nil {
		return err
	}
	if err := c.CredentialStore.Prepare(ctx); err != nil {
		return internal("preparing the credential store", err)
	}
	renewed, err := exchangeInTime(ctx, c.Service, c.app, func(ctx context.Context, app App) (Credentials, error) {
		return c.platform.Refresh(ctx, app, c.credentials)
	})
	if err != nil {
		return internal("renewing what a code yielded", err)
	}
	renewed.ClientID, renewed.Generation = c.credentials.ClientID, c.credentials.Generation+1
	renewed.AccountID, renewed.UserID = "", ""
	c.credentials = renewed
	return c.storeRedeemed(ctx)
}

// extend stores the lasting form of the credentials that the code yielded.
func (c *consent) extend(ctx context.Context) error {
	if c.record.Extended {
		return nil
	}
	if err := c.ensureApp(ctx); err != nil {
		return err
	}
	lasting, err := exchangeInTime(ctx, c.Service, c.app, func(ctx context.Context, app App) (Credentials, error) {
		return c.platform.Extend(ctx, app, c.credentials)
	})
	if err != nil {
		return internal("extending what a code yielded", err)
	}
	if lasting.Fields.Equal(c.credentials.Fields) {
		return nil
	}
	lasting.ClientID, lasting.Generation = c.credentials.ClientID, c.credentials.Generation+1
	c.credentials, c.extended = lasting, true
	return c.storeRedeemed(ctx)
}

func (c *consent) ensureApp(ctx context.Context) error {
	if c.app.Configured() {
		return nil
	}
	return c.readApp(ctx)
}

// granted returns a grant of the consent, as the platform just returned it.
func (c *consent) granted(g Grant) Grant {
	g.Credentials.ClientID = c.credentials.ClientID
	g.VerifiedAt, g.ConsentedAt = c.Now().UTC(), c.record.began()
	return g
}

// selectAccounts returns the grants to save, in their order: the chosen ones, else all. Of
// a re-authorization it returns the grant for the target, and the grants for the owner's
// other connections that need a new authorization of the same person. Before that it
// marks the connections that the consent ended, because they ended whatever is saved.
func (c *consent) selectAccounts(ctx context.Context, grants []Grant) (target *Connection, selected []Grant, err error) {
	if err := c.readProgress(ctx); err != nil {
		return nil, nil, err
	}
	if c.record.Selected && c.record.Spent {
		return nil, c.remainingGrants(grants), nil // an earlier caller checked them
	}
	var theirs []Connection
	if len(grants) > 1 || c.platform.Describe().UncoveredReason != "" {
		if theirs, err = c.personConnections(ctx, grants); err != nil {
			return nil, nil, err
		}
		if err := c.markUncovered(ctx, theirs); err != nil {
			return nil, nil, err
		}
	}
	target, selected, err = c.selectGrants(ctx, c.record.Authorization, grants)
	if err != nil {
		return nil, nil, err
	}
	if err := c.readLink(ctx); err != nil {
		return nil, nil, err
	}
	if target != nil {
		all := append(selected, c.renewableGrants(theirs, grants, *target)...)
		selected = c.remainingGrants(all)
		if len(selected) > 0 && selected[0].Account.ID != all[0].Account.ID {
			target = nil // Confirm did not name the account of the target
		}
		return target, selected, nil
	}
	return nil, newFirst(c.ofOwner(theirs), c.remainingGrants(selected)), nil
}

// ofOwner returns those of the connections that the owner of the consent has.
func (c *consent) ofOwner(theirs []Connection) []Connection {
	return slices.DeleteFunc(slices.Clone(theirs), func(other Connection) bool { return other.Owner != c.record.Owner })
}

// renewableGrants returns the grants for those of the owner's connections, except for the
// target, that need a new authorization.
func (c *consent) renewableGrants(theirs []Connection, grants []Grant, target Connection) []Grant {
	dead := map[string]bool{}
	for _, other := range c.ofOwner(theirs) {
		dead[other.AccountID] = other.Status == NeedsReauth && other.ID != target.ID
	}
	var others []Grant
	for _, g := range grants {
		if dead[g.Account.ID] && g.Account.ID != target.AccountID {
			others = append(others, g)
		}
	}
	return others
}

// newFirst orders the grants: first those of accounts without a connection, last those of
// accounts with an active connection.
func newFirst(theirs []Connection, grants []Grant) []Grant {
	rank := map[string]int{}
	for _, other := range theirs {
		rank[other.AccountID] = 1
		if other.Status == Active {
			rank[other.AccountID] = 2
		}
	}
	return slices.SortedStableFunc(slices.Values(grants), func(a, b Grant) int {
		return rank[a.Account.ID] - rank[b.Account.ID]
	})
}

// saveOrWait saves the grants, or makes the consent wait for the person's choice or for
// Confirm.
func (c *consent) saveOrWait(ctx context.Context, selected []Grant, target *Connection) error {
	if c.record.Choose && !c.record.Selected && !c.record.Spent {
		return c.awaitChoice(ctx, len(selected))
	}
	if err := c.reserveAccounts(ctx, selected, target); err != nil {
		return err
	}
	if c.record.Confirm && !c.record.Confirmed {
		return c.wait(ctx)
	}
	if c.record.Accounts == 0 || !c.record.Spent {
		c.record.Accounts = len(selected)
	}
	if err := c.saveAccounts(ctx, selected, target); err != nil {
		return err
	}
	if len(c.savedIDs) == 0 {
		return cmp.Or(c.disconnected, error(&Error{Code: AccessDenied, Reason: reasonNoAccount, Message: "the platform gave access to none of the accounts: connect again, and allow every permission"}))
	}
	c.endTarget(ctx, c.saved)
	if c.record.Phase == consentDone {
		return nil
	}
	return c.recordSaved(ctx, nil)
}

// reserveAccounts charges the new connections of a consent to the owner's budget, once.
func (c *consent) reserveAccounts(ctx context.Context, selected []Grant, target *Connection) error {
	if c.record.Spent || c.record.Confirmed || c.record.Reserved > 0 {
		return nil
	}
	reserved, err := c.spendAccounts(ctx, c.record.Platform, selected, c.destination(target))
	c.record.Reserved, c.record.ReservedAt = reserved.n, reserved.at
	return err
}

// refundAccounts refunds the reserved connections that a consent did not create. It does
// so once the consent is done.
func (c *consent) refundAccounts(ctx context.Context) {
	if c.record.Reserved == 0 || c.record.Phase != consentDone {
		return
	}
	unused := c.chargeOwner(ConnectionsPerOwner, c.record.Owner, c.record.Reserved)
	unused.at = c.record.ReservedAt
	c.record.Reserved = 0
	c.refund(ctx, unused)
}

// savedBefore reports whether the consent need not be saved on an existing connection: it
// was saved there before a crash, or a consent that began later was.
func (c *consent) savedBefore(existing Connection, g Grant) bool {
	if c == nil {
		return false
	}
	later := c.resumed && existing.Status == Active && existing.ConsentedAt.After(g.ConsentedAt)
	return existing.ConsentID == c.name() || later
}

// continueConsent is the sweep's part: it completes a consent whose function
// crashed or met a failure that passes, ends one that was not confirmed in time,
// and revokes what no connection will use.
func (s *Service) continueConsent(ctx context.Context, key RecordKey) (DueResult, error) {
	c, err := s.readConsent(ctx, key.ID)
	if errors.Is(err, ErrNotFound) {
		return Gone, nil
	}
	if err != nil {
		return Failed, err
	}
	due := c.record.dueAt()
	switch {
	case due.IsZero():
		return Gone, nil
	case s.Now().Before(due):
		return NotDue, nil
	case insufficientTime(ctx):
		return Failed, errInsufficientTime()
	}
	result := Completed
	switch c.record.Phase {
	case consentChoosing, consentWaiting:
		result, err = Expired, c.expire(ctx)
	case consentDone:
		result, err = Expired, c.revokeLater(ctx)
	default:
		err = c.resume(ctx)
	}
	switch {
	case errors.Is(err, errLate):
		return Busy, nil
	case c.continued:
		return Continued, nil
	case err == nil:
		return result, nil
	case c.record.Phase == consentDone && c.record.Credentials == nil:
		return Expired, nil
	case errors.Is(err, Internal):
		return Failed, err
	}
	return Failed, nil
}
