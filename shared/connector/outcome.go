package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// outcome is how an attempt ended. doc.go has the table of what each outcome
// writes and who is told.
type outcome string

const (
	outcomeNotSent    outcome = "not sent"    // nothing reached the platform
	outcomeRenewed    outcome = "renewed"     // new credentials
	outcomeUnchanged  outcome = "unchanged"   // the same credentials, which still work
	outcomeTransient  outcome = "transient"   // the platform or the network failed; it passes
	outcomeAppRefused outcome = "app refused" // the platform refused the app
	outcomeGrantDead  outcome = "grant dead"  // the platform refused the grant
	outcomeLate       outcome = "late"        // the result came too late
)

// record records the outcome, and returns what the caller is told.
func (a *attempt) record(ctx context.Context, o outcome, cause error) (Connection, error) {
	switch o {
	case outcomeNotSent:
		return a.abort(ctx, cause)
	case outcomeRenewed:
		return a.storeRenewed(ctx)
	case outcomeUnchanged:
		return a.commitRenewed(ctx, a.connection.Credentials)
	case outcomeGrantDead:
		return a.markNeedsReauth(ctx, AsError(cause))
	case outcomeLate:
		return a.discardLate(ctx)
	case outcomeTransient, outcomeAppRefused:
		return a.recordFailure(ctx, o, AsError(cause))
	}
	return a.abort(ctx, internal("recording an attempt", fmt.Errorf("the outcome %q has no case", o)))
}

// release ends the lease of the attempt, and writes with it what change does.
func (a *attempt) release(ctx context.Context, change func(*Connection) error) (Connection, error) {
	return a.Service.release(ctx, a.connection, a.connection.Lease.Holder, change)
}

// abort ends an attempt of which there is nothing to record, and returns cause:
// nothing was sent, or the record could not be read again after a refusal. The
// mark is as before. A reference that is still stale is moved soon.
func (a *attempt) abort(ctx context.Context, cause error) (Connection, error) {
	released, err := a.release(ctx, func(c *Connection) error {
		c.Attempt = a.previous
		if a.CredentialStore.Stale(c.Credentials) {
			c.RefreshAt = a.Now().UTC().Add(restoreAfter)
		}
		return nil
	})
	if err != nil {
		a.Log.WarnContext(ctx, "releasing a lease", "connection", string(a.connection.ID), "error", err)
		return a.late(ctx, cause)
	}
	return released, cause
}

// late returns what the caller of an attempt is told that could not be recorded:
// cause, with the record as it is now, or that there is no such connection any
// more. The connection that it then returns is one that hands out nothing.
func (a *attempt) late(ctx context.Context, cause error) (Connection, error) {
	fresh, err := a.Store.Connection(ctx, a.connection.ID)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && fresh.Status == Disconnected:
		ended := a.connection
		disconnect(&ended)
		return ended, errConnectionNotFound()
	case err != nil:
		return a.connection, cmp.Or(cause, internal("reading a connection", err))
	}
	return fresh, cause
}

// storeRenewed stores what an exchange brought: first the credentials, then the
// record, then the event (I1).
func (a *attempt) storeRenewed(ctx context.Context) (Connection, error) {
	c := a.connection
	ref, err := a.putLiving(ctx, c, c.Credentials, a.renewed)
	if errors.Is(err, ConnectionNotFound) {
		return a.record(ctx, outcomeLate, err)
	}
	if err != nil {
		return c, err
	}
	return a.commitRenewed(ctx, ref)
}

// commitRenewed makes the record refer to credentials that the platform renewed
// or confirmed.
func (a *attempt) commitRenewed(ctx context.Context, ref CredentialsRef) (Connection, error) {
	changed := ref.Generation > a.connection.Credentials.Generation
	holder := a.connection.Lease.Holder
	committed, err := a.commitCredentials(ctx, a.connection, a.renewed, ref, func(c *Connection) error {
		switch {
		case c.Credentials.Generation > ref.Generation, changed && c.Credentials.Generation == ref.Generation:
			return errLate
		case !changed:
			ref = c.Credentials // they may have moved meanwhile
		}
		a.applyRenewed(c, ref)
		c.ExpiryNoticeDays = expiryNoticeDays(*c, c.LastRefreshedAt)
		if !a.renewed.AccountOwed {
			c.Lease.release(holder)
		}
		return nil
	})
	if errors.Is(err, errLate) {
		return a.record(ctx, outcomeLate, err)
	}
	if err != nil {
		return a.connection, err
	}
	if a.renewed.UserID != "" {
		if err := a.eraseNamed(ctx, committed); err != nil {
			return a.late(ctx, err)
		}
	}
	if committed.accountChanged(a.renewed) {
		a.logAccountChanged(ctx, committed)
		return committed, errReauth(ReasonAccountChanged)
	}
	if !a.onlyChecked() {
		a.publishRefreshed(ctx, committed)
	}
	if a.renewed.AccountOwed {
		return a.confirmAccount(ctx, committed)
	}
	a.nameOthers(ctx, a.connection, a.renewed.UserID)
	return a.learnAccount(ctx, a.platform, committed, Account{ID: a.renewed.AccountID}), nil
}

// applyRenewed records what the exchange returned.
func (a *attempt) applyRenewed(c *Connection, ref CredentialsRef) {
	now := a.Now().UTC()
	a.applyCredentials(c, a.platform, a.renewed, ref)
	c.updateScopes(a.renewed.Scopes)
	c.setUser(a.renewed.UserID)
	c.LastRefreshedAt = now
	c.Failures, c.Attempt = 0, Attempt{}
	c.clearRenewed(a.onlyChecked())
	switch {
	case c.accountChanged(a.renewed):
		c.markAccountChanged()
	case a.onlyChecked():
		c.VerifiedAt = now
	}
}

// discardLate discards renewed credentials that are late. If the
// connection was disconnected meanwhile, the late grant is revoked and its
// credentials are deleted: deleted stays deleted, purged stays purged (I10).
func (a *attempt) discardLate(ctx context.Context) (Connection, error) {
	c := a.connection
	fresh, err := a.late(ctx, nil)
	if !errors.Is(err, ConnectionNotFound) {
		return fresh, err
	}
	a.revokeUnused(ctx, a.platform, a.app, []Grant{{Account: Account{ID: c.AccountID}, UserID: c.UserID, Credentials: a.renewed}})
	a.deleteLate(ctx, c)
	return fresh, err
}

// recordFailure records an exchange whose failure passes by itself, or by a
// change of the operator: the connection backs off. A refused app is not
// counted as a failure of the connection. A failure that lasts degrades the connection
// once it occurred degradedAfter times in a row.
func (a *attempt) recordFailure(ctx context.Context, o outcome, e *Error) (Connection, error) {
	rotates := a.connection.Attempt.Uncertain
	recorded, err := a.release(ctx, func(c *Connection) error {
		if o != outcomeAppRefused {
			c.Failures++
		}
		if lasting := a.lastingFailure(e); lasting != nil && c.Status == Active {
			if c.Degraded.Failures++; c.Degraded.Failures >= degradedAfter {
				c.degrade(lasting, false)
			}
		}
		c.Client = a.turn.breaker.Client
		caller, sweep := a.backoff(max(c.Failures, 1), e.RetryAfter)
		c.Attempt = Attempt{
			Generation: a.credentials.Generation,
			At:         a.Now().UTC(),
			Uncertain:  rotates && (e.Uncertain || a.mayBeSpent()),
			Code:       e.Code,
			Message:    e.Message,
			RetryAt:    caller,
		}
		c.RefreshAt = sweep
		switch {
		case c.Attempt.Uncertain && sweep.Before(c.ExpiresAt):
			c.RefreshAt = c.ExpiresAt
		case e.Reason == reasonAppReplaced && c.ExpiresAt.IsZero():
			// Each check calls the platform, and only the operator can change the app.
			c.RefreshAt = a.refreshAt(a.platform.Describe().Cadence, a.credentials)
		}
		if o == outcomeAppRefused {
			c.Attempt.RetryAt = a.Now().UTC()
		}
		return nil
	})
	if errors.Is(err, errLate) {
		return a.late(ctx, e)
	}
	if err != nil {
		return a.connection, errors.Join(e, err)
	}
	a.tellPlatformQuota(ctx, a.platform, recorded, a.app, a.credentials, e)
	return recorded, e
}

// mayBeSpent reports whether the refresh token was presented before this
// attempt, with an outcome that is not known.
func (a *attempt) mayBeSpent() bool {
	return a.previous.Uncertain && a.previous.Generation == a.credentials.Generation
}

// markNeedsReauth marks a connection that only a new consent helps, unless the
// platform refused credentials that are no longer the newest (I5).
func (a *attempt) markNeedsReauth(ctx context.Context, cause *Error) (Connection, error) {
	fresh, err := a.late(ctx, nil)
	if err != nil {
		return fresh, err
	}
	fresh, newest, err := a.Service.reconcile(ctx, a.platform, fresh, a.connection.Lease.Holder)
	if err != nil && !errors.Is(err, ReauthorizationRequired) {
		a.previous = Attempt{} // the answer is known
		return a.abort(ctx, err)
	}
	if err == nil && newest.Generation > a.credentials.Generation {
		// Nothing about newer credentials is uncertain.
		released, err := a.release(ctx, func(c *Connection) error {
			c.Attempt = Attempt{}
			return nil
		})
		if err != nil {
			return fresh, nil
		}
		return released, nil
	}
	reason := cause.Reason
	switch {
	case a.mayBeSpent():
		reason = reasonRotationLost
	case reason == "":
		reason = reasonGrantRefused
	case cause.Remedy != "":
		reason += remedySeparator + cause.Remedy
	}
	marked, err := a.release(ctx, func(c *Connection) error {
		if c.Credentials.Generation > a.credentials.Generation {
			return errLate
		}
		c.Status, c.StatusReason = NeedsReauth, reason
		c.Attempt = Attempt{}
		c.Failures++
		return nil
	})
	if errors.Is(err, errLate) {
		return a.late(ctx, nil)
	}
	if err != nil {
		return a.connection, err
	}
	e := errReauth(reason)
	e.Err = cause
	return marked, e
}

// remedySeparator is between the word of a status reason and the remedy, or the
// warning, that follows it.
const remedySeparator = ": "

// reasonWord returns the word with which a status reason begins.
func reasonWord(statusReason string) string {
	word, _, _ := strings.Cut(statusReason, remedySeparator)
	return word
}

// errReauth returns the error of a connection that was marked needs_reauth with that
// status reason.
func errReauth(statusReason string) *Error {
	word, remedy, _ := strings.Cut(statusReason, remedySeparator)
	e := &Error{Code: ReauthorizationRequired, Reason: word, Remedy: remedy, Message: "the authorization is gone: "}
	if remedy != "" {
		e.Message += remedy + ": "
	}
	e.Message += "send the person a connect link with this connection_id"
	return e
}
