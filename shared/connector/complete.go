package connector

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
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

// readLink reads the link, which the next connection will spend. LinkGone: the
// link was spent by another consent, it was ended, or it had expired when the
// person opened it.
func (c *consent) readLink(ctx context.Context) error {
	if c == nil || c.record.Spent {
		return nil
	}
	l, ticket, err := c.readLinkStatus(ctx, linkID(c.record.Link))
	switch {
	case errors.Is(err, ErrNotFound):
		return errLinkGone()
	case err != nil:
		return err
	case l.Phase == linkOpen && c.record.began().Before(l.Link.ExpiresAt):
	case (l.Phase == linkConfirming || l.Phase == linkSpent) && l.By == c.id && !l.Ended:
	default:
		return errLinkGone()
	}
	c.link, c.linkTicket = l, ticket
	return nil
}

// checkOwn returns errLate if another caller continued the consent.
func (c *consent) checkOwn(ctx context.Context) error {
	if c == nil {
		return nil
	}
	fresh, err := c.Store.Ticket(ctx, consentKey(c.id), c.Now())
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !bytes.Equal(fresh.Body, c.ticket.Body):
		return errLate
	case err != nil:
		return internal("reading a consent", err)
	}
	return nil
}

// spendLink adds to the transaction that saves the first connection of the consent
// that the link is spent by it. The only connection also ends the consent. written
// is called once the transaction succeeded.
func (c *consent) spendLink(change *Change, id ID) (written func(), err error) {
	if c == nil || c.record.Spent || c.record.Phase == consentDone {
		return func() {}, nil
	}
	next, l := c.spent()
	if c.selected == 1 {
		l.Phase, l.Accounts, l.Until = linkConnected, 1, time.Time{}
		pages, err := c.pagesOf(l.Hash, []ID{id}, 0)
		if err != nil {
			return nil, err
		}
		change.Overwrite = append(change.Overwrite, pages...)
		next.Phase, next.Credentials = consentDone, nil
	}
	if err := l.putLink(change, c.linkTicket); err != nil {
		return nil, err
	}
	added, ticket, err := c.changeTo(next, *change)
	if err != nil {
		return nil, err
	}
	*change = added
	return func() { c.wrote(next, ticket) }, nil
}

// reserveLink spends the link before credentials of an existing connection are
// replaced: where another consent has the link, nothing is to be stored. The
// consent is continued until it is done.
func (c *consent) reserveLink(ctx context.Context) error {
	if c == nil || c.record.Spent {
		return nil
	}
	return c.writeWithLink(ctx, Change{}, func(next *consentRecord, l *linkStatus) { *next, *l = c.spent() })
}

// writeWithLink writes the record and the status of the link, as edit changes them, in
// one transaction with more. It reads the link again where another writer was first, and
// fails as readLink does.
func (c *consent) writeWithLink(ctx context.Context, more Change, edit func(next *consentRecord, l *linkStatus)) error {
	for {
		next, l, change := c.record, c.link, more
		edit(&next, &l)
		if err := l.putLink(&change, c.linkTicket); err != nil {
			return err
		}
		err := c.write(ctx, next, change)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := c.readLink(ctx); err != nil {
			return err
		}
	}
}

// spent returns the record and the link as they are once the consent has the link.
func (c *consent) spent() (consentRecord, linkStatus) {
	next, l := c.record, c.link
	next.Spent, next.Accounts, next.Person = true, c.selected, c.person()
	l.Phase, l.By, l.Until, l.Accounts, l.Saved = linkSpent, c.id, c.Now().Add(linkSaving).UTC(), c.selected, 0
	l.Code, l.Reason = "", ""
	return next, l
}

// recordSaved records the saved connections, and postpones the consent if the write
// fails. failure is the error of the accounts that were not saved, or nil. LinkGone:
// another consent has the link.
func (c *consent) recordSaved(ctx context.Context, failure error) error {
	err := c.writeSaved(ctx, failure)
	if err != nil && !errors.Is(err, LinkGone) && !errors.Is(err, errLate) {
		return c.postpone(ctx, err)
	}
	return cmp.Or(err, failure)
}

// writeSaved writes the saved connections, to the consent and to the link.
func (c *consent) writeSaved(ctx context.Context, failure error) error {
	next := c.record
	next.Phase, next.Credentials, next.Spent, next.Accounts = consentDone, nil, true, len(c.savedIDs)
	next.Person = c.person()
	if failure != nil {
		next.Failure = newConsentFailure(failure)
	}
	pages, err := c.putPages(ctx, c.record.Link, c.savedIDs, c.paged)
	if err != nil {
		return err
	}
	err = c.changeLinkWith(ctx, c.record.Link, func(l *linkStatus, change *Change) error {
		change.Overwrite = pages
		l.LeftOut = next.LeftOut
		return l.recordSaved(c.id, len(c.savedIDs), failure)
	}, func(change Change) error { return c.write(ctx, next, change) })
	if errors.Is(err, ErrNotFound) || errors.Is(err, errUnchanged) { // the link expired long ago, or says it already
		return c.write(ctx, next, Change{})
	}
	return err
}

// wait makes the consent wait for Confirm, and the link with it. Nothing is
// connected yet (I12).
func (c *consent) wait(ctx context.Context) error {
	before := c.Now().UTC().Add(confirmationLife)
	ticket, err := newTicket(ConsentConfirmationKind, c.record.Confirmation, before, confirmation{Consent: c.id})
	if err != nil {
		return err
	}
	ticket.Bound = ownerHash(c.record.Owner)
	return c.writeWithLink(ctx, Change{Put: []Ticket{ticket}}, func(next *consentRecord, l *linkStatus) {
		next.Phase, next.Accounts, next.Person, next.ConfirmBefore = consentWaiting, c.selected, c.person(), before
		l.Phase, l.By, l.Until, l.Accounts, l.Confirmation, l.Code, l.Reason = linkConfirming, c.id, before, c.selected, ticket.ID, "", ""
	})
}

// lose ends a consent whose link is gone. What was saved before EndLink was called stays.
// Where another tab connected the same
// person, the grant is discarded: to revoke it would end that connection, too.
// Otherwise it is revoked: later, since the index of persons may not show another
// connection of this person yet.
func (c *consent) lose(ctx context.Context) error {
	if len(c.savedIDs) > 0 {
		return c.recordSaved(ctx, errLinkEnded())
	}
	winner, err := c.winner(ctx)
	if err != nil {
		return c.postpone(ctx, err)
	}
	next := c.record
	next.Phase = consentDone
	gone := errLinkGone()
	switch {
	case winner.Person != "" && c.userID != "" && winner.Person == c.person():
		next.Credentials = nil
		if c.record.Confirm {
			next.Failure = newConsentFailure(gone)
		}
	default:
		next.Failure, next.Until = newConsentFailure(gone), c.Now().UTC().Add(confirmationLife+confirmationSlack)
	}
	if err := c.writeFailed(ctx, next); err != nil || next.Failure == nil {
		return err
	}
	return gone
}

// winner returns the record of the consent that has the link, the zero record where
// none has: the link was ended, or had expired.
func (c *consent) winner(ctx context.Context) (consentRecord, error) {
	l, _, err := c.readLinkStatus(ctx, linkID(c.record.Link))
	if errors.Is(err, ErrNotFound) || err == nil && (l.By == "" || l.By == c.id || l.Phase == linkEnded) {
		return consentRecord{}, nil
	}
	if err != nil {
		return consentRecord{}, err
	}
	other, err := c.readConsent(ctx, l.By)
	if errors.Is(err, ErrNotFound) {
		return consentRecord{}, nil // of the previous release
	}
	if err != nil {
		return consentRecord{}, err
	}
	return other.record, nil
}

// fail ends a consent with a failure, which it returns. What was granted is
// revoked: now or, where the platform cannot be reached, by the sweep. Where an
// earlier caller saved accounts, they stay.
func (c *consent) fail(ctx context.Context, cause error, grants []Grant) error {
	err := c.findSaved(ctx)
	if err == nil && len(c.savedIDs) > 0 {
		err = c.writeSaved(ctx, cause)
	}
	if err != nil {
		c.Log.WarnContext(ctx, "recording what a consent saved, to be tried again", "platform", string(c.record.Platform), "error", err)
	}
	if err != nil || len(c.savedIDs) > 0 {
		return cause
	}
	next := c.record
	next.Phase, next.Failure, next.Until = consentDone, newConsentFailure(cause), c.Now().UTC().Add(recordWithin)
	if err := c.writeFailed(ctx, next); err != nil {
		c.Log.WarnContext(ctx, "recording the failure of a consent, to be tried again", "platform", string(next.Platform), "error", err)
		return cause
	}
	c.recordFailure(ctx, c.record.Authorization, cause)
	if c.record.Credentials == nil {
		return cause
	}
	if len(grants) == 0 {
		err = c.revokeAll(ctx)
	} else {
		err = c.revokeGranted(ctx, grants)
	}
	if err != nil {
		c.Log.WarnContext(ctx, "revoking an unused grant, to be tried again", "platform", string(next.Platform), "error", err)
	}
	return cause
}

// findSaved finds the connections that earlier callers saved. The index of persons lags
// behind by a moment only, and such a caller ended longer ago.
func (c *consent) findSaved(ctx context.Context) error {
	if err := c.readProgress(ctx); err != nil {
		return err
	}
	if !c.record.Spent || c.userID == "" || len(c.savedIDs) > 0 {
		return nil
	}
	found, err := c.Store.UserConnections(ctx, c.record.Platform, c.userID)
	if err != nil {
		return internal("finding what a consent saved", err)
	}
	for _, connection := range found {
		if connection.ConsentID == c.name() {
			c.addSaved(connection)
		}
	}
	return nil
}

// writeFailed writes the record of a consent that failed. Where the consent has the
// link, by a connection or by Confirm, and saved nothing, the link is good again,
// unless EndLink was called.
func (c *consent) writeFailed(ctx context.Context, next consentRecord) error {
	if !c.record.Spent && !c.record.Confirmed {
		return c.write(ctx, next, Change{})
	}
	next.Spent = false
	err := c.changeLinkWith(ctx, c.record.Link, func(l *linkStatus, _ *Change) error { return l.reopen(c.id) },
		func(change Change) error { return c.write(ctx, next, change) })
	if errors.Is(err, ErrNotFound) || errors.Is(err, errUnchanged) {
		return c.write(ctx, next, Change{})
	}
	return err
}

// revokeGranted revokes what the person consented to, and forgets what the code
// yielded. An error says that it may succeed later.
func (c *consent) revokeGranted(ctx context.Context, grants []Grant) error {
	if err := c.revokeEach(ctx, grants); err != nil {
		return err
	}
	next := c.record
	next.Credentials = nil
	return c.write(ctx, next, Change{})
}

// revokeEach revokes the grants. An error says that it may succeed later.
func (c *consent) revokeEach(ctx context.Context, grants []Grant) error {
	for _, g := range onePerPerson(grants) {
		err := c.revokeGrant(ctx, c.platform, c.app, g)
		if retryable(err) {
			return err
		}
		if err != nil {
			c.Log.WarnContext(ctx, "revoking an unused grant", "platform", string(c.record.Platform), "error", err)
		}
	}
	return nil
}

// postpone leaves the consent to the next callback of its browser, or to the
// sweep, and returns cause: with the reason unfinished, since nothing needs to be
// started again. After a day of tries the consent fails. If only the operator can
// correct the cause, such as spent credits, it fails after operatorWait.
func (c *consent) postpone(ctx context.Context, cause error) error {
	now, longest := c.Now().UTC(), revokePendingFor
	if ofApp(cause) || errors.Is(cause, QuotaExhausted) {
		longest = operatorWait
		c.extendLinkStatus(ctx)
	}
	if !c.record.RedeemedAt.IsZero() && now.After(c.record.RedeemedAt.Add(longest)) {
		return c.fail(ctx, cause, nil)
	}
	if e := AsError(cause); e.Code.TryLater() && e.Reason == "" {
		unfinished := *e
		unfinished.Reason = reasonUnfinished
		cause = &unfinished
	}
	next := c.record
	next.Tries++
	next.Holder, next.Until = "", now
	_, next.RetryAt = c.backoff(next.Tries, AsError(cause).RetryAfter)
	if err := c.write(ctx, next, Change{}); err != nil {
		c.Log.WarnContext(ctx, "postponing a consent", "platform", string(next.Platform), "error", err)
		return cause
	}
	c.Log.WarnContext(ctx, "a consent is not finished, to be tried again", "platform", string(next.Platform), "error", cause)
	c.recordFailure(ctx, c.record.Authorization, cause)
	return cause
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

// expire ends a consent that got no confirmation, or no choice, in time.
func (c *consent) expire(ctx context.Context) error {
	next := c.record
	next.Phase, next.Until = consentDone, c.Now().UTC().Add(recordWithin)
	failure := &Error{Code: LinkGone, Reason: reasonNotConfirmed, Message: "the authorization was not confirmed in time: ask for a new link"}
	if c.record.Phase == consentChoosing {
		failure = &Error{Code: AccessDenied, Reason: reasonNotChosen, Message: "no account was chosen in time: open the link again"}
	}
	next.Failure = newConsentFailure(failure)
	if err := c.write(ctx, next, Change{}); err != nil {
		return err
	}
	if l, _, err := c.readLinkStatus(ctx, linkID(c.record.Link)); err == nil && !c.Now().Before(l.Until) { // else another person is on the way
		c.recordFailure(ctx, c.record.Authorization, failure)
	}
	return c.revokeLater(ctx)
}

// revokeLater revokes what a consent that is done did not save. It is tried for a
// day; then what the code yielded is deleted without it.
func (c *consent) revokeLater(ctx context.Context) error {
	err := c.openRedeemed(ctx)
	if err == nil {
		err = c.revokeAll(ctx)
	}
	if err == nil || errors.Is(err, errLate) {
		return err
	}
	now, next := c.Now().UTC(), c.record
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrMismatch) || now.After(c.record.RedeemedAt.Add(revokePendingFor)) {
		next.Credentials = nil
		c.Log.WarnContext(ctx, "deleting an unused grant that could not be revoked", "platform", string(next.Platform), "error", err)
		return c.write(ctx, next, Change{})
	}
	next.Tries++
	_, next.Until = c.backoff(next.Tries, AsError(err).RetryAfter)
	return cmp.Or(c.write(ctx, next, Change{}), err)
}

// revokeAll asks the platform what was granted, and revokes it.
func (c *consent) revokeAll(ctx context.Context) error {
	grants, err := c.grants(ctx)
	if retryable(err) {
		return err
	}
	return c.revokeGranted(ctx, grants)
}

// ofApp reports whether the platform refused the app, or no app is stored. The operator
// can correct both, and the grant stays good.
func ofApp(err error) bool {
	code := AsError(err).Code
	return code.AppRefused() || code == AppNotConfigured
}

// ofBudget reports whether a budget refused the accounts of a consent.
func ofBudget(err error) bool {
	reason := AsError(err).Reason
	return reason == reasonBudgetExceeded || reason == reasonTooManyAccounts
}
