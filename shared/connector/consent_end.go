package connector

import (
	"cmp"
	"context"
	"errors"
)

// This file ends a consent that is not saved, or puts it off. What no connection will use
// is revoked: now, or later by the sweep.

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
